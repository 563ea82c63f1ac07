"""People whose access tokens are revoked, again and again, and when the last content refuses each of these tokens."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from kpi_drill.database import Server
from kpi_drill.http import Client, Reply, Request, get, post, post_form
from kpi_drill.ledger import Person
from kpi_drill.load import API, PASSWORD
from kpi_drill.platform import Platform

_PEOPLE = 4
_POLL_SECONDS = 0.01
_PAUSE_SECONDS = 0.1
_PATIENCE_SECONDS = 15.0
_ATTEMPT_SECONDS = 4.0
# Each way of revoking a token, and the event of it.
KINDS = {
    "log-out": "session.ended",
    "demotion": "account.role_changed",
    "deactivation": "account.deactivated",
}
_EVENTS = "SELECT account_id, type, extract(epoch FROM occurred_at)::float8 FROM events WHERE type = ANY(%s) ORDER BY id"


class Round(NamedTuple):
    """One revocation; times are of time.time(), and ``refused`` is when the last content did so (inf: never)."""

    kind: str
    account_id: int
    sent: float
    refused: float


@dataclass
class Revoker:
    """Asks through the gateways as clients do, and looks at each content itself.

    No event is later than its commit, so what is measured from there is at least the time from the commit.
    """

    platform: Platform
    seed: int
    rounds: list[Round] = field(default_factory=list)
    # Fresh tokens that a content refused before anything was revoked.
    refused_early: int = 0

    def __post_init__(self) -> None:
        self._gateways = Client(self.platform.ports("gateway"), timeout=_ATTEMPT_SECONDS)
        self._contents = [Client([port], timeout=_ATTEMPT_SECONDS) for port in self.platform.ports("content")]
        self._random = random.Random(self.seed)
        self._numbers = itertools.count()
        self._admin = Person("", "")
        self._people: list[Person] = []

    async def prepare(self) -> None:
        stamp = time.monotonic_ns()
        self._admin, *self._people = [await self._join(f"r{stamp}x{number}") for number in range(_PEOPLE + 1)]
        self._query("UPDATE users SET role = 'admin' WHERE id = %s", self._admin.id)
        await self._sign_in(self._admin)

    async def run(self, least: int, meanwhile: Awaitable[None] | None = None) -> None:
        """At least so many rounds, and more until ``meanwhile`` has ended."""
        fault = asyncio.ensure_future(meanwhile) if meanwhile is not None else None
        try:
            async with asyncio.TaskGroup() as group:
                for person in self._people:
                    group.create_task(self._repeat(person, lambda: len(self.rounds) < least or not _has_ended(fault)))
            if fault is not None:
                await fault
        finally:
            if fault is not None:
                fault.cancel()

    async def wait_for_round(self, number: int) -> None:
        while len(self.rounds) < number:
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        for client in (self._gateways, *self._contents):
            await client.close()

    def delays(self) -> list[float]:
        """From the event of each revocation until the last content refused the token, in the order of the rounds."""
        found = self._query(_EVENTS, list(KINDS.values()))
        return [each.refused - _find_event(found, each) for each in self.rounds]

    async def _repeat(self, person: Person, goes_on: Callable[[], bool]) -> None:
        kinds = list(KINDS)
        while goes_on():
            self.rounds.append(await self._run_round(person, kinds[next(self._numbers) % len(kinds)]))

    async def _run_round(self, person: Person, kind: str) -> Round:
        await self._change(person, role="admin" if kind == "demotion" else "user", is_active=True)
        await self._sign_in(person)
        probe = get("/posts/1", person.bearer)
        replies = await asyncio.gather(*(content.send(probe) for content in self._contents))
        self.refused_early += sum(reply.status == 401 for reply in replies)
        await asyncio.sleep(self._random.random() * _PAUSE_SECONDS)
        sent = time.time()
        times = await asyncio.gather(
            self._revoke(person, kind), *(_wait_for_refusal(content, probe) for content in self._contents)
        )
        return Round(kind, person.id, sent, max(times))

    async def _revoke(self, person: Person, kind: str) -> float:
        if kind == "log-out":
            await self._ask(Request("POST", f"{API}/auth/logout", (person.bearer, person.origin)), {204, 401})
        elif kind == "demotion":
            await self._change(person, role="user")
        else:
            await self._change(person, is_active=False)
        return -inf

    async def _change(self, person: Person, **changes: object) -> None:
        request = post(f"{API}/users/{person.id}", changes, self._admin.bearer, self._admin.origin)
        await self._ask(Request("PATCH", request.path, request.headers, request.body), {200})

    async def _join(self, name: str) -> Person:
        person = Person(name, f"10.9.{self.seed % 250}.{len(self._people) + 1}")
        body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        reply = await self._ask(post(f"{API}/users", body, person.origin), {201})
        person.id = int(reply.json()["id"])
        return person

    async def _sign_in(self, person: Person) -> None:
        form = {"username": person.name, "password": PASSWORD}
        person.take_tokens(await self._ask(post_form(f"{API}/auth/login", form, person.origin), {200}))

    async def _ask(self, request: Request, expected: set[int]) -> Reply:
        """Repeat what has no definite outcome, as a client does."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not (reply := await self._gateways.send(request)).is_definite:
                await asyncio.sleep(_PAUSE_SECONDS)
        if reply.status not in expected:
            raise RuntimeError(f"{request.method} {request.path}: {reply}")
        return reply

    def _query(self, statement: str, *parameters: object) -> Sequence[tuple[object, ...]]:
        server: Server = self.platform.server
        return server.query("drill_auth", statement, *parameters)


def _has_ended(fault: asyncio.Future[None] | None) -> bool:
    return fault is None or fault.done()


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
