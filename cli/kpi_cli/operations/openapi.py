"""``kpi openapi``: the merged OpenAPI document of all services, with nothing running."""

import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kpi_cli.errors import KPI, FailureError
from kpi_cli.parts import GATEWAY, SERVICES, Part


def merge() -> str:
    """The document as text: each service prints its own, and the gateway merges them."""
    with ThreadPoolExecutor() as pool:
        documents = list(pool.map(_ask, SERVICES))
    by_service = {service.name: document for service, document in zip(SERVICES, documents, strict=True)}
    return json.dumps(_ask(GATEWAY, by_service), indent=2, ensure_ascii=False) + "\n"


def write(file: Path) -> None:
    """Write the merged document to a file."""
    file.write_text(merge(), encoding="utf-8")


def check(file: Path) -> None:
    """Raise FailureError when a file does not hold the merged document."""
    kept = file.read_text(encoding="utf-8") if file.exists() else None
    if kept != merge():
        problem = "does not exist" if kept is None else "is not up to date"
        raise FailureError("openapi", f"{file} {problem}", fix=f"{KPI} openapi {file}")


def _ask(part: Part, given: Mapping[str, object] | None = None) -> dict[str, object]:
    """Run a part's ``openapi`` command and return the document that it prints."""
    result = subprocess.run(
        part.command("openapi"),
        input="" if given is None else json.dumps(given),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if result.returncode:
        raise _failure(part, f"openapi ended with exit code {result.returncode}", result.stderr)
    try:
        document: dict[str, object] = json.loads(result.stdout)
    except ValueError as error:
        raise _failure(part, "openapi did not print a JSON document", result.stderr) from error
    return document


def _failure(part: Part, sentence: str, output: str) -> FailureError:
    return FailureError(part.name, sentence, log=output.splitlines()[-10:])
