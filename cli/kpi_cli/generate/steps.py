"""What is made from the new code by programs, in the copy of the checkout."""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kpi_cli import revisions
from kpi_cli.errors import FailureError
from kpi_cli.generate import scratch
from kpi_cli.generate.changes import Step
from kpi_cli.layout import ANSWERS

_GRACE_SECONDS = 15


def write_migration(folder: str, message: str) -> Step:
    """The migration that the models of the service in this folder need, run up, down and up; none if they need none."""

    def write(root: Path) -> None:
        name = revisions.choose_name(root / folder, is_own_project=(root / ANSWERS).exists())
        _run(root, "migration", "kpi_shared.testing.write_migration", folder, name, message)

    return write


def write_examples(root: Path) -> None:
    """config/.env.example of each part."""
    _run(root, "example of the settings", "kpi_cli", "config", "--init")


def write_commands(root: Path) -> None:
    """docs/commands.md, whose help texts name the parts; a project of one's own may have left it out."""
    if (root / "docs" / "commands.md").exists():
        _run(root, "reference of commands", "kpi_cli", "docs", "--write", "docs/commands.md")


def write_openapi(root: Path) -> None:
    """docs/openapi.json."""
    _run(root, "API document", "kpi_cli", "openapi", "docs/openapi.json")


def _run(root: Path, name: str, *arguments: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=root,
        env=scratch.environment(root),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        # Ctrl-C of the terminal does not reach it, so that it ends once, and in order.
        start_new_session=True,
    )
    try:
        output, _ = process.communicate()
    finally:
        if process.poll() is None:
            # It has a database to stop.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
            process.kill()
    if process.returncode:
        raise FailureError("make", f"the {name} could not be made, and nothing was changed", log=_last_lines(output))


def _last_lines(output: str) -> Sequence[str]:
    return [line for line in output.splitlines() if line.strip()][-12:]
