"""Limits on how often something may be tried, which hold for all replicas together (ASVS 5.0, 6.3.1).

An attempt counts from before it is made, so that a hundred at once are no more than one after the other; one that turns
out well is taken back. What is limited is an attempt, never an account: whoever has a session keeps it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from kpi_shared.database import Database
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.attempts import repository
from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import Origin
from kpi_auth.audit.service import record


class Limit(NamedTuple):
    """At most ``most`` attempts of a kind by, or at, ``of`` within the window."""

    kind: str
    of: str
    most: int
    window: timedelta

    @property
    def key(self) -> bytes:
        """Two kinds never share one: no kind holds a line break."""
        return hashlib.sha256(f"{self.kind}\n{self.of}".encode()).digest()


@dataclass(frozen=True)
class Admission:
    """An attempt that may be made; it stays counted unless it is forgiven."""

    keys: tuple[bytes, ...]
    moment: datetime

    async def forgive(self, database: Database) -> None:
        """Take the attempt back: it was no failure."""
        if self.keys:
            async with database.committing() as connection:
                await repository.remove(connection, keys=self.keys, moment=self.moment)


async def admit(database: Database, *limits: Limit, origin: Origin) -> Admission:
    """Count an attempt under each limit, or TooManyAttemptsError by the first that is reached.

    It counts from now on and whatever becomes of it, so it is in no transaction of the caller's. Limits before the one
    that is reached keep the attempt, and those after it never see it: with an address first and an account second, an
    address that is shut out cannot use up the account's attempts.
    """
    if not limits:
        # A client with no address, as on a Unix socket, is not limited by it.
        return Admission((), datetime.now(UTC))
    async with database.committing() as connection:
        return await admitted(connection, limits, await repository.add(connection, limits), origin=origin)


async def admitted(
    connection: AsyncConnection, limits: Sequence[Limit], added: repository.Added, *, origin: Origin
) -> Admission:
    """What came of counting: TooManyAttemptsError where one of the limits had no room left, recorded once a window."""
    if added.keys < len(limits):
        reached = limits[added.keys]
        if await repository.is_news(connection, reached):
            await record(connection, Event.THROTTLED, origin=origin, details={"limit": reached.kind})
        raise TooManyAttemptsError(seconds=await repository.seconds_to_wait(connection, reached))
    return Admission(tuple(limit.key for limit in limits), added.moment)
