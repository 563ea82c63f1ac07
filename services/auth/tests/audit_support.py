"""A database of its own for the chain of audit records, and its owner, who may do anything."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from kpi_auth.audit.chain import ChainKeys, Place
from kpi_auth.audit.verification import Report, verify
from kpi_auth.audit.worker import Chainer, ChainTimes
from kpi_auth.settings import AuthSettings
from kpi_shared.database import Database
from sqlalchemy import text

TOLERANCE = timedelta(minutes=15)
_TRIGGERS = ("append_only", "chained_once", "deleted_by_age")
_ADD = """
    INSERT INTO audit_events (at, event, actor_id, subject_id, address, user_agent, request_id, details)
    SELECT now() - CAST(:age AS interval) + n * interval '1 millisecond', 'session.started', n, n, '192.0.2.1',
        'Téléphone "1"', 'request-' || n, jsonb_build_object('n', n, 'by', 'password')
    FROM generate_series(1, :number) AS n
"""


@dataclass(frozen=True)
class Trail:
    """The audit table of one database, with the tools of the service and with the rights of the owner."""

    settings: AuthSettings
    database: Database

    @property
    def keys(self) -> ChainKeys:
        return ChainKeys(self.settings)

    def chainer(self, **times: float) -> Chainer:
        """The chainer of one more process."""
        return Chainer(self.database, self.keys, ChainTimes(**times))

    async def add(self, number: int = 1, *, age: timedelta = timedelta()) -> None:
        """Add records, the oldest of them that old."""
        async with self.database.writing() as connection:
            await connection.execute(text(_ADD), {"number": number, "age": age})

    async def chain(self, chainer: Chainer | None = None) -> None:
        """Give all committed records their places, and sign a checkpoint."""
        chainer = chainer or self.chainer(checkpoint=0)
        while await chainer.step():
            pass
        await chainer.step()

    async def verify(self, *, expected: Place | None = None, tolerance: timedelta = TOLERANCE) -> Report:
        return await verify(self.database, self.keys, tolerance=tolerance, expected=expected)

    async def problem(self) -> tuple[str, int | None, int | None] | None:
        """What is wrong, at which place, and at which record."""
        found = (await self.verify()).problem
        return (found.wrong.value, found.seq, found.id) if found else None

    async def rows(self, statement: str, **values: object) -> list[Any]:
        async with self.database.reading() as connection:
            return list((await connection.execute(text(statement), values)).all())

    @asynccontextmanager
    async def owner(self) -> AsyncIterator["Owner"]:
        """The owner of the database switches the triggers off, and on again afterwards."""
        async with self.database.writing() as connection:
            for trigger in _TRIGGERS:
                await connection.exec_driver_sql(f"ALTER TABLE audit_events DISABLE TRIGGER {trigger}")
            yield Owner(connection)
            for trigger in _TRIGGERS:
                await connection.exec_driver_sql(f"ALTER TABLE audit_events ENABLE TRIGGER {trigger}")


@dataclass(frozen=True)
class Owner:
    connection: Any

    async def run(self, *statements: str) -> None:
        for statement in statements:
            await self.connection.exec_driver_sql(statement)
