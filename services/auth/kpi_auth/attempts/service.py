"""Limits on how often something may be tried, which hold for all replicas together (ASVS 5.0, 6.3.1).

An attempt counts from before it is made, so that a hundred at once are no more than one after the other; one that turns
out well is taken back. What is limited is an attempt, never an account: whoever has a session keeps it.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from kpi_shared.database import Database

from kpi_auth.attempts import repository
from kpi_auth.attempts.errors import TooManyAttemptsError


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

    _database: Database
    _keys: tuple[bytes, ...]
    _moment: datetime

    async def forgive(self) -> None:
        """Take the attempt back: it was no failure."""
        await repository.remove(self._database, keys=self._keys, moment=self._moment)


async def admit(database: Database, *limits: Limit) -> Admission:
    """Count an attempt under each limit, or TooManyAttemptsError by the first that is reached.

    Those before it keep the attempt, and those after it never see it: with an address first and an account second, an
    address that is shut out cannot use up the account's attempts.
    """
    added = await repository.add(database, limits)
    if added.keys < len(limits):
        raise TooManyAttemptsError(seconds=await repository.seconds_to_wait(database, limits[added.keys]))
    return Admission(database, tuple(limit.key for limit in limits), added.moment)
