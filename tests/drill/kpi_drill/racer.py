"""Many refreshes of a person at once while their sessions are revoked, and whether any token outlives that."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from kpi_shared.key_ring import KeyRing
from kpi_shared.settings import OptionalTokenSettings
from kpi_shared.tokens import TokenCodec

from kpi_drill.accounts import Accounts
from kpi_drill.http import Client, Reply, Request, get, post_form
from kpi_drill.ledger import Person
from kpi_drill.platform import Platform

REFRESHES = 64
# Sent as soon as the revocation has returned.
_LATE = 4
_PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.02
# How the sessions end, and how many a person has then.
KINDS = {"log-out": 1, "log-out everywhere": 4, "deactivation": 4}
_OPEN = "SELECT id FROM sessions WHERE user_id = ANY(%s) AND ended_at IS NULL"
_VERSIONS = "SELECT id, version FROM users WHERE id = ANY(%s)"


class _Right(NamedTuple):
    """What of a token a revocation can hit."""

    account_id: int
    session_id: str
    version: int


class Racer:
    """The refreshes go to the auths themselves, one to each in turn, so that they are all there at once."""

    def __init__(self, platform: Platform, *, seed: int) -> None:
        self._accounts = Accounts(platform)
        self._auths = Client(platform.ports("auth"))
        self._contents = [Client([port]) for port in platform.ports("content")]
        names = (str(OptionalTokenSettings.model_fields[name].default) for name in ("token_issuer", "token_audience"))
        ring = KeyRing.local(bytes.fromhex(platform.server.secret_key))
        self._codec = TokenCodec(ring, issuer=next(names), audience=next(names))
        self._random = random.Random(seed)
        self._rights: set[_Right] = set()
        self._spread = 0.0
        self.rounds = 0
        # Rounds in which some refreshes were in time and others came too late.
        self.close_rounds = 0
        self.minted = 0
        self.minted_late = 0
        # Tokens that content accepted after all that time, and refresh tokens that auth did.
        self.accepted = 0

    async def run(self, count: int) -> None:
        """Two rounds at a time."""
        kinds = list(KINDS)

        async def take_turns(turn: int) -> None:
            for number in range(turn, count, 2):
                await self._run_round(kinds[number % len(kinds)])

        async with asyncio.TaskGroup() as group:
            for turn in range(2):
                group.create_task(take_turns(turn))

    async def close(self) -> None:
        await self._accounts.close()
        for client in (self._auths, *self._contents):
            await client.close()

    def count_unhit(self) -> int:
        """Tokens whose session is open and whose account is as it was: no revocation has hit these."""
        people = [right.account_id for right in self._rights]
        is_open = {str(session_id) for (session_id,) in self._accounts.query(_OPEN, people)}
        versions = {account_id: int(str(version)) for account_id, version in self._accounts.query(_VERSIONS, people)}
        return sum(
            right.session_id in is_open and right.version >= versions[right.account_id] for right in self._rights
        )

    async def _run_round(self, kind: str) -> None:
        """Of a new person, so that the version of the account is that of the revocation."""
        person = await self._accounts.join()
        requests = [await self._make_refresh(person) for _ in range(KINDS[kind])]
        began = time.perf_counter()
        racing = [
            asyncio.create_task(self._auths.send(requests[number % len(requests)])) for number in range(REFRESHES)
        ]
        await asyncio.sleep(self._random.random() * self._spread)
        await self._revoke(person, kind)
        late = await asyncio.gather(*(self._auths.send(requests[number % len(requests)]) for number in range(_LATE)))
        replies = await asyncio.gather(*racing)
        self._spread = time.perf_counter() - began
        await self._judge(person, replies, late)

    async def _make_refresh(self, person: Person) -> Request:
        await self._accounts.sign_in(person)
        return post_form("/auth/refresh", {"refresh_token": person.refresh_token}, person.origin)

    async def _revoke(self, person: Person, kind: str) -> None:
        if kind == "deactivation":
            await self._accounts.change(person, is_active=False)
        else:
            await self._accounts.log_out(person, "local" if kind == "log-out" else "global")

    async def _judge(self, person: Person, replies: Sequence[Reply], late: Sequence[Reply]) -> None:
        given = [reply.json() for reply in replies if reply.ok]
        self.rounds += 1
        self.close_rounds += bool(given) and any(reply.status in {400, 401} for reply in replies)
        self.minted += len(given)
        self.minted_late += sum(reply.ok for reply in late)
        for tokens in given:
            subject = self._codec.verify(tokens["access_token"])
            self._rights.add(_Right(subject.id, subject.session_id, subject.account_version or 0))
        refreshed = {tokens["refresh_token"] for tokens in given}
        again = [post_form("/auth/refresh", {"refresh_token": token}, person.origin) for token in refreshed]
        probes = [get("/posts/1", ("Authorization", f"Bearer {tokens['access_token']}")) for tokens in given[-1:]]
        accepted = [reply.ok for reply in await asyncio.gather(*map(self._auths.send, again))]
        accepted += await asyncio.gather(*(_is_accepted(content, one) for content in self._contents for one in probes))
        self.accepted += sum(accepted)


async def _is_accepted(content: Client, probe: Request) -> bool:
    """Whether it still is after the time in which a revocation has to be known."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while (await content.send(probe)).status != 401:
                await asyncio.sleep(_POLL_SECONDS)
            return False
    return True
