"""Statements for the driver's own connection: compiled once, and sent as they are.

SQLAlchemy would look the compiled statement up, wrap the connection, the cursor and each row again for every request.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from kpi_shared.database import DirectConnection
from psycopg import AsyncCursor
from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql.psycopg import dialect
from sqlalchemy.sql.elements import CompilerElement

RowT = TypeVar("RowT")


class Statement(Generic[RowT]):
    """``make`` turns the values of one row, in the statement's order, into what callers get.

    The server keeps the plan of a prepared one: right where a plan is good for any values, and wrong where it hangs
    on them, as with a rare and a common word.
    """

    def __init__(
        self, statement: Executable, make: Callable[[Sequence[Any]], RowT], *, is_prepared: bool = True
    ) -> None:
        assert isinstance(statement, CompilerElement)  # noqa: S101 every statement is one
        compiled = statement.compile(dialect=dialect())  # type: ignore[no-untyped-call]
        self._sql = str(compiled).encode()
        # Values that stand in the statement itself.
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}
        self._make = make
        self._is_prepared = is_prepared

    async def all(self, connection: DirectConnection, values: Mapping[str, Any]) -> list[RowT]:
        return await (await self._run(connection, values)).fetchall()

    async def one_or_none(self, connection: DirectConnection, values: Mapping[str, Any]) -> RowT | None:
        """The first row; the statement says by itself that there is no second one."""
        return await (await self._run(connection, values)).fetchone()

    async def one(self, connection: DirectConnection, values: Mapping[str, Any]) -> RowT:
        row = await self.one_or_none(connection, values)
        assert row is not None  # noqa: S101 a count, or what an INSERT returns
        return row

    async def _run(self, connection: DirectConnection, values: Mapping[str, Any]) -> AsyncCursor[RowT]:
        cursor = connection.cursor(row_factory=self._row_factory)
        return await cursor.execute(self._sql, {**self._constants, **values}, prepare=self._is_prepared)

    def _row_factory(self, _cursor: object) -> Callable[[Sequence[Any]], RowT]:
        return self._make
