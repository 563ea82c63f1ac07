"""What a part reports about itself with its own ``check`` command."""

import json
import re
import subprocess
from typing import TypedDict

from kpi_cli.errors import KPI
from kpi_cli.parts import Part

SECONDS = 60


class PartFinding(TypedDict):
    """A part's finding as the doctor prints it."""

    check: str
    ok: bool
    detail: str
    fix: str


def run(part: Part, environment: dict[str, str] | None) -> list[PartFinding]:
    """The findings of one part; a part that cannot report is a finding itself."""
    try:
        result = subprocess.run(
            part.command("check"),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [_no_report(part, f"no report after {SECONDS} seconds")]
    try:
        found = json.loads(result.stdout)["findings"]
        return [_finding(part, each) for each in found]
    except (ValueError, KeyError, TypeError):
        last = (result.stderr.strip().splitlines() or ["no output"])[-1]
        return [_no_report(part, f"exit code {result.returncode}: {last}")]


def _finding(part: Part, found: dict[str, object]) -> PartFinding:
    return PartFinding(
        check=f"{part.name} {found['check']}",
        ok=bool(found["ok"]),
        detail=str(found.get("detail", "")),
        # A part knows the command by its name only, and not the folder that it is in.
        fix=re.sub(r"(^|: )kpi ", rf"\g<1>{KPI} ", str(found.get("fix", ""))),
    )


def _no_report(part: Part, detail: str) -> PartFinding:
    fix = f'eval "$({KPI} env {part.name})" && {KPI} run {part.name} check'
    return PartFinding(check=part.name, ok=False, detail=detail, fix=fix)
