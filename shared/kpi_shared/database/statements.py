"""Statements for the driver's own connection: each is compiled once and sent as it is.

For every request, SQLAlchemy would look up the compiled statement and wrap the connection, the cursor and each row.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from psycopg import AsyncCursor
from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql.psycopg import dialect
from sqlalchemy.sql.elements import CompilerElement

from kpi_shared.database.driver import ServiceConnection as DirectConnection

RowT = TypeVar("RowT")


class Statement(Generic[RowT]):
    """``make`` turns the values of one row, in the order of the statement's columns, into the result.

    The server reuses the plan of a prepared statement. That is right where one plan is good for all values, and wrong
    where the best plan depends on them, as it does for a rare and a common word.
    """

    def __init__(
        self, statement: Executable, make: Callable[[Sequence[Any]], RowT], *, is_prepared: bool = True
    ) -> None:
        assert isinstance(statement, CompilerElement)  # noqa: S101 every statement is one
        compiled = statement.compile(dialect=dialect())  # type: ignore[no-untyped-call]
        self._sql = str(compiled).encode()
        # The values that are part of the statement itself.
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}
        self._make = make
        self._is_prepared = is_prepared

    async def all(self, connection: DirectConnection, values: Mapping[str, Any]) -> list[RowT]:
        return await (await self._run(connection, values)).fetchall()

    async def one_or_none(self, connection: DirectConnection, values: Mapping[str, Any]) -> RowT | None:
        """The first row, or None; the statement itself must ensure that there is only one."""
        return await (await self._run(connection, values)).fetchone()

    async def one(self, connection: DirectConnection, values: Mapping[str, Any]) -> RowT:
        row = await self.one_or_none(connection, values)
        assert row is not None  # noqa: S101 a count and an INSERT always return a row
        return row

    async def _run(self, connection: DirectConnection, values: Mapping[str, Any]) -> AsyncCursor[RowT]:
        cursor = connection.cursor(row_factory=self._row_factory)
        return await cursor.execute(self._sql, {**self._constants, **values}, prepare=self._is_prepared)

    def _row_factory(self, _cursor: object) -> Callable[[Sequence[Any]], RowT]:
        return self._make
