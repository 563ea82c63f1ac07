"""Many changes of accounts while the auths, which number and send the events of these, are killed again and again."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kpi_drill.accounts import Accounts, open_accounts, patch_user
from kpi_drill.feed_reader import FeedReader
from kpi_drill.http import Client, Request
from kpi_drill.ledger import Person
from kpi_drill.platform import Platform
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict, seconds

_WRITERS = 8
_EVENTS, _SHORT_EVENTS = 20_000, 300
_ACCOUNTS, _SHORT_ACCOUNTS = 25, 4
_BETWEEN_KILLS, _SHORT_BETWEEN_KILLS = (2.0, 6.0), (0.2, 1.0)
_PAUSE_SECONDS = 0.05
_SETTLE_SECONDS = 60.0
_DEFINITE = range(200, 500)
_COUNT = "SELECT count(*) FROM events"
_STORED = "SELECT seq FROM events"
_ACCOUNTS_OF_AUTH = """
    SELECT id, CASE WHEN deleted_at IS NULL THEN username END, version, deleted_at IS NOT NULL FROM users ORDER BY id
"""
_ACCOUNTS_OF_CONTENT = "SELECT id, username, version, is_deleted FROM authors ORDER BY id"


async def write_while_auth_dies(stage: Stage) -> Verdict:
    """8 admins rename, close, delete and restore accounts; either auth is killed at random, or both at once."""
    count = _SHORT_EVENTS if stage.short else _EVENTS
    async with stage.platform() as platform, open_accounts(platform) as accounts:
        reader = FeedReader(platform)
        reading = asyncio.create_task(reader.run())
        try:
            writers = await _prepare(platform, accounts, stage)
            kills = await _write(stage, platform, writers, count)
            await platform["auth1"].wait_until_ready()
            await platform["auth2"].wait_until_ready()
            took = await _wait_until_equal(stage, reader)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    return _judge(stage, reader, writers, kills, took)


@dataclass
class _Writer:
    """Changes accounts that no other writer changes, so that it knows their state."""

    admin: Person
    client: Client
    random: random.Random
    people: Sequence[Person]
    names: dict[int, str] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)
    acknowledged: int = 0

    async def run(self, goes_on: Callable[[], bool]) -> None:
        number = 0
        try:
            while goes_on():
                number += 1
                await self._change(self.random.choice(self.people), number)
        finally:
            await self.client.close()

    async def _change(self, person: Person, number: int) -> None:
        if person.id in self.deleted:
            await self._send(self._request("POST", person, "/restore"), {200, 409})
            self.deleted.discard(person.id)
        elif self.random.random() < 0.1:
            await self._send(self._request("DELETE", person), {204, 404})
            self.deleted.add(person.id)
        else:
            name = f"{person.name}n{number}"
            await self._send(patch_user(person.id, {"username": name}, self.admin, prefix=""), {200})
            self.names[person.id] = name

    def _request(self, method: str, person: Person, more: str = "") -> Request:
        return Request(method, f"/users/{person.id}{more}", (self.admin.bearer, self.admin.origin))

    async def _send(self, request: Request, expected: set[int]) -> None:
        """Repeat it until there is a response; the last two of ``expected`` say that a former attempt has done it."""
        while (reply := await self.client.send(request)).status not in _DEFINITE:
            await asyncio.sleep(_PAUSE_SECONDS)
        if reply.status not in expected:
            raise RuntimeError(f"{request.method} {request.path}: {reply}")
        self.acknowledged += 1


async def _prepare(platform: Platform, accounts: Accounts, stage: Stage) -> Sequence[_Writer]:
    """To the auths themselves: what the gateways take of the processor is of no use here."""
    writers = []
    for number in range(_WRITERS):
        admin = await accounts.join_as_admin()
        people = [await accounts.join() for _ in range(_SHORT_ACCOUNTS if stage.short else _ACCOUNTS)]
        client = Client(platform.ports("auth"), timeout=5)
        writers.append(_Writer(admin, client, random.Random(stage.seed + number), people))
    return writers


async def _write(stage: Stage, platform: Platform, writers: Sequence[_Writer], count: int) -> int:
    """Until there are so many events; returns how often an auth was killed."""

    def goes_on() -> bool:
        return sum(writer.acknowledged for writer in writers) < count

    async with asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(writer.run(goes_on))
        killing = group.create_task(_kill_at_random(stage, platform, goes_on))
    return killing.result()


async def _kill_at_random(stage: Stage, platform: Platform, goes_on: Callable[[], bool]) -> int:
    kills, chosen = 0, random.Random(stage.seed)
    while goes_on():
        await asyncio.sleep(chosen.uniform(*(_SHORT_BETWEEN_KILLS if stage.short else _BETWEEN_KILLS)))
        names = chosen.choice((("auth1",), ("auth2",), ("auth1", "auth2")))
        await _each(names, lambda name: platform[name].kill())
        await _each(names, lambda name: platform[name].start())
        await _each(names, lambda name: platform[name].wait_until_ready())
        kills += len(names)
    return kills


async def _each(names: Sequence[str], do: Callable[[str], Awaitable[Any]]) -> None:
    await asyncio.gather(*(do(name) for name in names))


async def _wait_until_equal(stage: Stage, reader: FeedReader) -> float:
    """How long after the last write each consumer has everything."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + _SETTLE_SECONDS:
        if not await asyncio.to_thread(_count_differences, stage, reader):
            break
        await asyncio.sleep(0.1)
    return loop.time() - began


def _count_differences(stage: Stage, reader: FeedReader) -> int:
    return _count_missed(stage, reader) + _count_unequal(stage)


def _count_missed(stage: Stage, reader: FeedReader) -> int:
    return sum(seq not in reader.seen for (seq,) in stage.server.query("drill_auth", _STORED))


def _count_unequal(stage: Stage) -> int:
    expected = set(stage.server.query("drill_auth", _ACCOUNTS_OF_AUTH))
    return len(expected ^ set(stage.server.query("drill_content", _ACCOUNTS_OF_CONTENT)))


def _count_undone(stage: Stage, writers: Sequence[_Writer]) -> int:
    """Acknowledged changes that auth does not have."""
    stored = {row[0]: row[1] for row in stage.server.query("drill_auth", _ACCOUNTS_OF_AUTH)}
    undone = 0
    for writer in writers:
        undone += sum(stored[user_id] is not None for user_id in writer.deleted)
        undone += sum(
            stored[user_id] != name for user_id, name in writer.names.items() if user_id not in writer.deleted
        )
    return undone


def _judge(stage: Stage, reader: FeedReader, writers: Sequence[_Writer], kills: int, took: float) -> Verdict:
    count = int(stage.server.query("drill_auth", _COUNT)[0][0])
    missed, unequal, undone = _count_missed(stage, reader), _count_unequal(stage), _count_undone(stage, writers)
    figure = (
        f"{missed} of {count} events missed and {reader.disordered} out of order in {kills} kills, {unequal} accounts "
        f"differ, {undone} acknowledged changes lost, all known {seconds(took)} after the last"
    )
    if reader.first_disorder:
        figure += f"; the first out of order: {reader.first_disorder}"
    return Verdict(figure, not (missed or reader.disordered or unequal or undone) and kills > 0)
