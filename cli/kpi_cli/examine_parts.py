"""What a part says about itself, by its own ``check`` command."""

import json
import re
import subprocess
from typing import TypedDict

from kpi_cli import parts
from kpi_cli.errors import KPI

SECONDS = 60


class PartFinding(TypedDict):
    """A part's finding as the doctor prints it."""

    check: str
    ok: bool
    detail: str
    fix: str


def report(part: str, environment: dict[str, str] | None) -> list[PartFinding]:
    """The findings of one part; a part that cannot even report is a finding itself."""
    try:
        result = subprocess.run(
            parts.command(part, "check"),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [_broken(part, f"no report after {SECONDS} seconds")]
    try:
        found = json.loads(result.stdout)["findings"]
        return [_finding(part, each) for each in found]
    except (ValueError, KeyError, TypeError):
        last = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return [_broken(part, f"exit code {result.returncode}: {last}")]


def _finding(part: str, found: dict[str, object]) -> PartFinding:
    return PartFinding(
        check=f"{part} {found['check']}",
        ok=bool(found["ok"]),
        detail=str(found.get("detail", "")),
        # A part knows the command by its name only, and not where it lies.
        fix=re.sub(r"(^|: )kpi ", rf"\g<1>{KPI} ", str(found.get("fix", ""))),
    )


def _broken(part: str, detail: str) -> PartFinding:
    return PartFinding(check=part, ok=False, detail=detail, fix=f'eval "$({KPI} env {part})" && {KPI} run {part} check')
