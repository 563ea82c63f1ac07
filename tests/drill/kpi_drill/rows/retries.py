"""Requests that create, whose connections are cut, are sent again with their Idempotency-Key."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from kpi_drill.accounts import Accounts, open_accounts
from kpi_drill.cutting import FIELD, Cut, CuttingProxy
from kpi_drill.http import Client, Reply, Request, post
from kpi_drill.ledger import Person
from kpi_drill.load import API, PASSWORD
from kpi_drill.platform import Platform
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict

_REQUESTS = 500
_SHORT_REQUESTS = 80
_PEOPLE = 8
_AT_ONCE = 16
_RETRIES = 5
# The other retries are for responses that say to wait.
_MOST_CUTS = 3
_PAUSE_SECONDS = 0.3
_COUNTS = {
    "posts": ("drill_content", "SELECT id FROM posts WHERE title LIKE %s"),
    "messages": ("drill_content", "SELECT id FROM messages WHERE content LIKE %s"),
    "registrations": ("drill_auth", "SELECT id FROM users WHERE username LIKE %s"),
    "API keys": ("drill_auth", "SELECT id FROM api_keys WHERE name LIKE %s"),
}


class Creation(NamedTuple):
    kind: str
    path: str
    body: Mapping[str, object]
    by: Person
    cuts: Sequence[Cut]

    def attempt(self, number: int, key: str) -> Request:
        """The request; all attempts are equal but for the field that says where to cut."""
        cut = [(FIELD, self.cuts[number].value)] if number < len(self.cuts) else []
        # A registration is that of an anonymous client.
        bearer = [] if self.kind == "registrations" else [self.by.bearer]
        return post(self.path, self.body, *bearer, self.by.origin, ("Idempotency-Key", key), *cut)


@dataclass
class _Tally:
    """What the clients got in the end."""

    ids: dict[str, list[int]]
    attempts: int = 0
    replayed: int = 0
    unanswered: int = 0


async def send_again(stage: Stage) -> Verdict:
    """Each request has one effect, and each client has its response, over two replicas of each service."""
    async with stage.platform() as platform:
        async with stage.load(platform, rate=10) as load, open_accounts(platform) as accounts:
            stamp = f"r{uuid.uuid4().hex[:10]}"
            creations = await _plan(stage, accounts, stamp)
            async with _cut_off(platform) as client:
                tally = await _create_all(client, creations)
        losses = await stage.check(load, platform)
    stored = {kind: _find_ids(platform, kind, stamp) for kind in _COUNTS}
    rows, wrong = sum(map(len, stored.values())), sum(sorted(tally.ids[kind]) != stored[kind] for kind in _COUNTS)
    figure = (
        f"{rows} rows of {len(creations)} requests in {tally.attempts} attempts, {tally.replayed} replayed, "
        f"{tally.unanswered} without a response; {losses}"
    )
    is_exact = rows == len(creations) and not wrong and not tally.unanswered and tally.replayed > 0
    return Verdict(figure, is_exact and losses.total == 0)


async def _plan(stage: Stage, accounts: Accounts, stamp: str) -> list[Creation]:
    chance = Random(stage.seed)
    people = [await accounts.join() for _ in range(_PEOPLE)]
    for person in people:
        await accounts.sign_in(person)
    made = await accounts.ask(post(f"{API}/conversations", {"title": stamp}, people[0].bearer, people[0].origin), {201})
    messages = f"{API}/conversations/{made.json()['id']}/messages"
    total = _SHORT_REQUESTS if stage.short else _REQUESTS
    kinds = itertools.cycle(_COUNTS)
    return [_plan_one(next(kinds), f"{stamp}x{number}", messages, people, chance) for number in range(total)]


def _plan_one(kind: str, name: str, messages: str, people: Sequence[Person], chance: Random) -> Creation:
    path, body = {
        "posts": (f"{API}/posts", {"title": name, "content": "x"}),
        "messages": (messages, {"role": "user", "content": name}),
        "registrations": (
            f"{API}/users",
            {"username": name, "email": f"{name}@example.com", "password": PASSWORD},
        ),
        "API keys": (f"{API}/api-keys", {"name": name, "scopes": "read"}),
    }[kind]
    by = people[0] if kind == "messages" else chance.choice(people)
    cuts = chance.choices([*Cut], k=chance.randint(1, _MOST_CUTS))
    return Creation(kind, path, body, by, cuts)


@asynccontextmanager
async def _cut_off(platform: Platform) -> AsyncIterator[Client]:
    """A client behind a proxy before each gateway."""
    async with AsyncExitStack() as stack:
        ports = []
        for port in platform.ports("gateway"):
            proxy = CuttingProxy(port)
            ports.append(await proxy.start())
            stack.push_async_callback(proxy.stop)
        client = Client(ports, timeout=5)
        stack.push_async_callback(client.close)
        yield client


async def _create_all(client: Client, creations: Sequence[Creation]) -> _Tally:
    tally, places = _Tally({kind: [] for kind in _COUNTS}), asyncio.Semaphore(_AT_ONCE)

    async def create(creation: Creation) -> None:
        async with places:
            reply = await _create(client, creation, tally)
        if reply.status == 201:
            tally.ids[creation.kind].append(int(reply.json()["id"]))
            tally.replayed += "idempotency-replayed" in reply.headers
        else:
            tally.unanswered += 1

    await asyncio.gather(*map(create, creations))
    return tally


async def _create(client: Client, creation: Creation, tally: _Tally) -> Reply:
    """The first response that says whether it is done, of at most ``_RETRIES`` more attempts."""
    key = str(uuid.uuid4())
    for number in range(1 + _RETRIES):
        tally.attempts += 1
        reply = await client.send(creation.attempt(number, key))
        if reply.status not in {0, 409} and reply.status < 500:
            break
        await asyncio.sleep(_PAUSE_SECONDS)
    return reply


def _find_ids(platform: Platform, kind: str, stamp: str) -> list[int]:
    database, statement = _COUNTS[kind]
    return sorted(row[0] for row in platform.server.query(database, statement, f"{stamp}x%"))
