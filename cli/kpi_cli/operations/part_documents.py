"""What the parts print about their API: a document of each service, and what the gateway makes of all of them."""

import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kpi_cli.errors import FailureError
from kpi_cli.parts import GATEWAY, SERVICES, Part


def ask_gateway(command: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The result of a command of the gateway that gets the documents of all services.

    Without an ``environment`` the gateway has the settings of the shell.
    """
    with ThreadPoolExecutor() as pool:
        documents = list(pool.map(lambda service: _ask(service, "openapi"), SERVICES))
    by_service = {service.name: document for service, document in zip(SERVICES, documents, strict=True)}
    return _ask(GATEWAY, command, by_service, environment)


def _ask(
    part: Part, command: str, given: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a command of a part and return the JSON object that it prints."""
    result = subprocess.run(
        part.command(command),
        env=environment,
        input="" if given is None else json.dumps(given),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if result.returncode:
        raise _failure(part, f"{command} ended with exit code {result.returncode}", result.stderr)
    try:
        document: dict[str, Any] = json.loads(result.stdout)
    except ValueError as error:
        raise _failure(part, f"{command} did not print a JSON document", result.stderr) from error
    return document


def _failure(part: Part, sentence: str, output: str) -> FailureError:
    return FailureError(part.name, sentence, log=output.splitlines()[-10:])
