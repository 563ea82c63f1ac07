"""Runs a command of a service, of auth by default: one JSON object on its standard input, one on its standard output.

It imports the standard library only, because a job in a container uses it.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from kpi_cli import parts
from kpi_cli.errors import KPI, FailureError
from kpi_cli.parts import Part

AUTH = parts.get_or_raise("auth")


def run(
    environment: Mapping[str, str],
    command: str,
    request: Mapping[str, object],
    *,
    accept: tuple[int, ...] = (0,),
    part: Part = AUTH,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Run a command and return its result; raises FailureError for an exit code that is not to be accepted.

    A command that takes more than ``seconds`` is ended, which is a failure too.
    """
    try:
        result = subprocess.run(
            part.command(command),
            env=environment,
            input=json.dumps(request),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        problem = f"{command} did not end within {seconds:.0f} s"
        raise FailureError(part.name, problem, fix=f"{KPI} doctor") from None
    if result.returncode not in accept:
        raise _failure(part, command, result)
    response: dict[str, Any] = json.loads(result.stdout)
    return response


def follow(environment: Mapping[str, str], command: str, *options: str, part: Part) -> Iterator[dict[str, Any]]:
    """Run a command that prints a JSON object on each line, and yield them as they come; FailureError as above."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            part.command(command, *options),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
        )
        with process:
            yield from map(json.loads, process.stdout or ())
        if process.returncode:
            errors.seek(0)
            ended = subprocess.CompletedProcess(process.args, process.returncode, "", errors.read())
            raise _failure(part, command, ended)


def _failure(part: Part, command: str, result: "subprocess.CompletedProcess[str]") -> FailureError:
    lines, prefix = result.stderr.splitlines(), f"kpi-{part.name}: "
    sentence = next((line for line in reversed(lines) if line.startswith(prefix)), None)
    if sentence is not None:
        return FailureError(part.name, sentence.removeprefix(prefix), code=result.returncode)
    problem = f"{command} ended with exit code {result.returncode}"
    return FailureError(part.name, problem, log=lines[-10:], fix=f"{KPI} doctor", code=result.returncode)
