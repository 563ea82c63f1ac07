"""``kpi audit verify``: has the audit trail been changed since the auth service wrote it?"""

import json
from typing import Any

from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.operations import auth_commands

# Apart from 1, with which a command ends that could not do its work.
EXIT_BROKEN = 3


def verify(layout: Layout, *, head: str | None, tolerance: float, as_json: bool) -> None:
    """Print the result; raises FailureError with its exit code if the chain is broken."""
    request = {"head": head, "tolerance": tolerance}
    with auth_commands.environment(layout) as environment:
        report = auth_commands.run(environment, "verify-audit", request, accept=(0, EXIT_BROKEN))
    print(json.dumps(report, indent=2) if as_json else _describe(report))
    if report["problem"]:
        raise _failure(report["problem"])


def _describe(report: dict[str, Any]) -> str:
    count = f"kpi: audit: {report['records']:,} records are as they were written"
    parts = {"deleted by age": report["deleted_by_age"], "waiting for their place": report["waiting"]}
    more = [f"{number:,} {what}" for what, number in parts.items() if number]
    return "\n".join([", ".join([count, *more]), f"head: {report['head']}"])


def _failure(problem: dict[str, Any]) -> FailureError:
    kinds = {
        "changed": "a record was changed",
        "removed": "records were removed",
        "put-in": "a record was put in between",
        "checkpoint": "a checkpoint is wrong",
        "hidden": "records may be hidden",
    }
    kind = kinds.get(problem["wrong"], "a record cannot be verified")
    place = f" at place {problem['seq']}" if problem["seq"] is not None else ""
    fix = f"compare with an export or the log from {'that place' if place else 'that record'} on; {KPI} audit --help"
    return FailureError("audit", f"{kind}{place}: {problem['detail']}", fix=fix, code=EXIT_BROKEN)
