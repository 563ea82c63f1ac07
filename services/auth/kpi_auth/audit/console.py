"""The command of operators ``python -m kpi_auth verify-audit``.

It reads one JSON object from standard input and writes one to standard output. Its exit code is 0 if the chain is
whole, 3 if it is not, and 1 if that could not be found out.
"""

import re
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

from kpi_shared.database import Database
from pydantic import StringConstraints
from sqlmodel import Field, SQLModel

from kpi_auth.audit.chain import HASH_BYTES, ChainKeys, Place
from kpi_auth.audit.verification import Report, verify
from kpi_auth.commands import run
from kpi_auth.settings import AuthSettings

EXIT_BROKEN = 3
_HEAD = re.compile(rf"([0-9]{{1,18}}):([0-9a-f]{{{2 * HASH_BYTES}}})")


class VerifyAudit(SQLModel):
    """``head`` is a place that was written down elsewhere, as SEQ:HASH. ``tolerance`` is in seconds."""

    model_config = {"extra": "forbid"}

    head: Annotated[str, StringConstraints(pattern=rf"^{_HEAD.pattern}$")] | None = None
    tolerance: Annotated[float, Field(ge=1, le=10**9)] = 900

    @property
    def place(self) -> Place | None:
        found = _HEAD.fullmatch(self.head or "")
        return Place(int(found[1]), bytes.fromhex(found[2])) if found else None


def verify_audit(settings: AuthSettings) -> int:
    """Walk the chain of audit records and report the first that was changed, removed or put in between."""
    return run(settings, VerifyAudit, _verify, exit_code=lambda result: 0 if result["ok"] else EXIT_BROKEN)


async def _verify(settings: AuthSettings, database: Database, command: VerifyAudit) -> dict[str, Any]:
    tolerance = timedelta(seconds=command.tolerance)
    return _to_json(await verify(database, ChainKeys(settings), tolerance=tolerance, expected=command.place))


def _to_json(report: Report) -> dict[str, Any]:
    return {
        "ok": report.problem is None,
        "records": report.records,
        "deleted_by_age": report.start.seq,
        "waiting": report.waiting,
        "checkpoints": report.checkpoints,
        "head": f"{report.head.seq}:{report.head.hash.hex()}",
        "problem": asdict(report.problem) if report.problem else None,
    }
