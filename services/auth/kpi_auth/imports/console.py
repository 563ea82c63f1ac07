"""``python -m kpi_auth import-accounts``: accounts of another system, which keep their passwords.

Standard input has JSON lines: the options, such as ``{"lines": 2}``, then so many accounts, one each. Standard output
has the progress, each problem with its line, and at the end the totals. The exit code is 3 if lines were refused.
"""

import asyncio
import json
import sys
from collections.abc import Iterable, Mapping

import psycopg
from kpi_shared.database import Database
from kpi_shared.operations import reason_of
from kpi_shared.telemetry.logging import configure_logging
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from kpi_auth.commands import RefusedError
from kpi_auth.hashing.hasher import functions_of
from kpi_auth.imports import service
from kpi_auth.imports.schemas import ImportOptions, Totals
from kpi_auth.settings import AuthSettings

_LINES_REFUSED = 3


def import_accounts(settings: AuthSettings) -> int:
    """All valid lines are added in one transaction, or none: with an invalid one only if the options say so."""
    configure_logging(part=settings.part.program, level=settings.log_level, form=settings.log_format, stream=sys.stderr)
    lines = iter(sys.stdin.buffer)
    try:
        options = _read_options(next(lines, b""))
        totals = asyncio.run(move_in(settings, options, lines, report=_report))
    except (RefusedError, SQLAlchemyError, psycopg.Error) as error:
        print(f"{settings.part.program}: {reason_of(error)}", file=sys.stderr)
        return 1
    _report(totals.model_dump())
    return _LINES_REFUSED if totals.refused else 0


def _read_options(line: bytes) -> ImportOptions:
    try:
        return ImportOptions.model_validate_json(line)
    except ValidationError:
        names = ", ".join(ImportOptions.model_fields)
        raise RefusedError(f"the first line must be a JSON object of options: {names}") from None


async def move_in(
    settings: AuthSettings, options: ImportOptions, lines: Iterable[bytes], *, report: service.Report
) -> Totals:
    """Judge all lines and report the problems; then add the accounts, unless the options or a bad line forbid it."""
    reader = service.Reader(settings, functions_of(settings), options)
    database = Database(settings)
    try:
        async with database.writing() as connection:
            await service.stage_all(connection, reader, lines, report=report)
            totals, problems = await service.judge_all(connection, reader)
            for problem in problems:
                report({"line": problem.line, "problem": problem.text})
            if not options.dry_run and (options.keep_going or not totals.refused):
                await service.add_all(connection, totals, report=report)
                totals.stored = True
    finally:
        await database.close()
    return totals


def _report(values: Mapping[str, object]) -> None:
    print(json.dumps(values), flush=True)
