"""The relay: gives committed events their places in the order, in every process, one process at a time.

An event has no place when it is written: transactions commit in another order than they write, so a reader of "all
after the last that I saw" would miss those that commit late. Here places are given after the commit, in transactions
that follow each other, and such a reader misses nothing (docs/adr/0040-events.md).
"""

from kpi_shared.database import Database

from kpi_auth.events import repository

BATCH = 500


class Relay:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.numbered = 0

    async def step(self) -> bool:
        """Number one batch; returns whether there was any event without a place."""
        async with self._database.committing() as connection:
            count = await repository.number(connection, most=BATCH)
        self.numbered += count or 0
        return bool(count)
