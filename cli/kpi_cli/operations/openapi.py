"""``kpi openapi``: the merged OpenAPI document of all services, with nothing running."""

import json
from pathlib import Path

from kpi_cli.errors import KPI, FailureError
from kpi_cli.operations import part_documents


def merge() -> str:
    """The document as text: each service prints its own, and the gateway merges them."""
    return json.dumps(part_documents.ask_gateway("openapi"), indent=2, ensure_ascii=False) + "\n"


def write(file: Path, *, as_json: bool) -> None:
    """Write the merged document to a file."""
    file.write_text(merge(), encoding="utf-8")
    if as_json:
        print(json.dumps({"written": str(file)}))


def check(file: Path, *, as_json: bool) -> None:
    """Raise FailureError when a file does not hold the merged document."""
    kept = file.read_text(encoding="utf-8") if file.exists() else None
    if kept != merge():
        problem = "does not exist" if kept is None else "is not up to date"
        raise FailureError("openapi", f"{file} {problem}", fix=f"{KPI} openapi {file}")
    if as_json:
        print(json.dumps({"up_to_date": str(file)}))
