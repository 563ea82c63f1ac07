"""How an operator's command runs: one JSON object from standard input, one to standard output.

So no password appears in a list of processes. A refusal is one sentence on standard error.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from kpi_shared.database import Database
from kpi_shared.errors import ProblemError, field_error
from kpi_shared.operations import reason_of
from kpi_shared.telemetry.logging import configure_logging
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import SQLModel

from kpi_auth.context import Context, standalone_context
from kpi_auth.hashing.hasher import PasswordHasher
from kpi_auth.settings import AuthSettings

_MAX_INPUT = 64 * 1024

Command = TypeVar("Command", bound=SQLModel)
Work = Callable[[AuthSettings, Database, Command], Awaitable[dict[str, Any]]]


class RefusedError(Exception):
    """The command cannot be carried out; the message is a sentence for the operator."""


def run(
    settings: AuthSettings,
    schema: type[Command],
    work: Work[Command],
    *,
    exit_code: Callable[[dict[str, Any]], int] = lambda _result: 0,
) -> int:
    """Run the command and return its exit code: 1 for a refusal, else that of the result."""
    configure_logging(part=settings.part.program, level=settings.log_level, form=settings.log_format, stream=sys.stderr)
    try:
        result = asyncio.run(_with_database(settings, read(schema), work))
    except (RefusedError, ProblemError, SQLAlchemyError) as error:
        print(f"{settings.part.program}: {reason_of(error)}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return exit_code(result)


@contextmanager
def open_context(settings: AuthSettings, database: Database) -> Iterator[Context]:
    hasher = PasswordHasher(settings)
    try:
        yield standalone_context(settings, database, hasher)
    finally:
        hasher.close()


def read(schema: type[Command]) -> Command:
    """The object on standard input; RefusedError if it is not valid."""
    try:
        return schema.model_validate_json(sys.stdin.buffer.read(_MAX_INPUT))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "input"
        raise RefusedError(f"{field}: {field_error(first)['detail']}") from None


async def _with_database(settings: AuthSettings, command: Command, work: Work[Command]) -> dict[str, Any]:
    database = Database(settings)
    try:
        return await work(settings, database, command)
    finally:
        await database.close()
