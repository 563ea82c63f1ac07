"""People whose access tokens are revoked, again and again, and when the last content refuses each of these tokens."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf
from typing import NamedTuple

from kpi_drill.accounts import Accounts
from kpi_drill.http import Client, Request, get
from kpi_drill.ledger import Person
from kpi_drill.platform import Platform

_PEOPLE = 4
_POLL_SECONDS = 0.01
_MOST_REST_SECONDS = 0.1
_PATIENCE_SECONDS = 15.0
# Each way of revoking a token, and the event of it.
KINDS = {
    "log-out": "session.ended",
    "demotion": "account.role_changed",
    "deactivation": "account.deactivated",
}
_EVENTS = """
    SELECT account_id, type, extract(epoch FROM occurred_at)::float8 FROM events WHERE type = ANY(%s) ORDER BY id
"""


class Round(NamedTuple):
    """One revocation; times are of time.time(), and ``refused`` is when the last content did so (inf: never)."""

    kind: str
    account_id: int
    sent: float
    refused: float


class Revoker:
    """Revokes through the gateways, as clients do, and looks at each content itself.

    No event is later than its commit, so what is measured from there is at least the time from the commit.
    """

    def __init__(self, platform: Platform, *, seed: int) -> None:
        self.platform = platform
        self.rounds: list[Round] = []
        # New tokens that a content refused before anything was revoked.
        self.refused_early = 0
        self._accounts = Accounts(platform)
        self._contents = [Client([port], timeout=4) for port in platform.ports("content")]
        self._random = random.Random(seed)
        self._numbers = itertools.count()

    async def run(self, least: int, meanwhile: Awaitable[None] | None = None) -> None:
        """At least so many rounds, and more until ``meanwhile`` has ended."""
        people = [await self._accounts.join() for _ in range(_PEOPLE)]
        fault = asyncio.ensure_future(meanwhile) if meanwhile is not None else None

        def goes_on() -> bool:
            return len(self.rounds) < least or not (fault is None or fault.done())

        try:
            async with asyncio.TaskGroup() as group:
                for person in people:
                    group.create_task(self._repeat(person, goes_on))
            if fault is not None:
                await fault
        finally:
            if fault is not None:
                fault.cancel()

    async def wait_for_round(self, number: int) -> None:
        while len(self.rounds) < number:
            await asyncio.sleep(_POLL_SECONDS / 2)

    async def close(self) -> None:
        await self._accounts.close()
        for content in self._contents:
            await content.close()

    def find_delays(self) -> list[float]:
        """From the event of each revocation until the last content refused the token, in the order of the rounds."""
        found = self._accounts.query(_EVENTS, list(KINDS.values()))
        return [each.refused - _find_event(found, each) for each in self.rounds]

    async def _repeat(self, person: Person, goes_on: Callable[[], bool]) -> None:
        kinds = list(KINDS)
        while goes_on():
            self.rounds.append(await self._run_round(person, kinds[next(self._numbers) % len(kinds)]))

    async def _run_round(self, person: Person, kind: str) -> Round:
        await self._accounts.change(person, role="admin" if kind == "demotion" else "user", is_active=True)
        await self._accounts.sign_in(person)
        probe = get("/posts/1", person.bearer)
        replies = await asyncio.gather(*(content.send(probe) for content in self._contents))
        self.refused_early += sum(reply.status == 401 for reply in replies)
        # So that the rounds of several people do not go in step.
        await asyncio.sleep(self._random.random() * _MOST_REST_SECONDS)
        sent = time.time()
        times = await asyncio.gather(
            self._revoke(person, kind), *(_wait_for_refusal(content, probe) for content in self._contents)
        )
        return Round(kind, person.id, sent, max(times))

    async def _revoke(self, person: Person, kind: str) -> float:
        if kind == "log-out":
            await self._accounts.log_out(person)
        elif kind == "demotion":
            await self._accounts.change(person, role="user")
        else:
            await self._accounts.change(person, is_active=False)
        return -inf


async def _wait_for_refusal(content: Client, probe: Request) -> float:
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while (await content.send(probe)).status != 401:
                await asyncio.sleep(_POLL_SECONDS)
            return time.time()
    return inf


def _find_event(found: Sequence[tuple[object, ...]], one: Round) -> float:
    """When the first event of that kind about the account occurred since the request was sent; -inf without one."""
    times = (float(str(at)) for account, kind, at in found if account == one.account_id and kind == KINDS[one.kind])
    return next((at for at in times if at >= one.sent), -inf)
