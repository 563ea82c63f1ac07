"""Accounts apart from those of the load: a row registers them, signs them in, and changes them as an admin."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from kpi_drill.http import Client, Reply, Request, get, post, post_form
from kpi_drill.ledger import Person
from kpi_drill.load import API, PASSWORD
from kpi_drill.platform import Platform

_PAUSE_SECONDS = 0.1
_PATIENCE_SECONDS = 30.0
_ATTEMPT_SECONDS = 4.0
_DEFINITE = range(200, 500)


class Accounts:
    """Asks through the gateways, and repeats what has no definite outcome, as a client does."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._client = Client(platform.ports("gateway"), timeout=_ATTEMPT_SECONDS)
        self._stamp = time.monotonic_ns()
        self._numbers = itertools.count(1)
        self._admin = Person("", "")

    async def join(self) -> Person:
        number = next(self._numbers)
        person = Person(f"a{self._stamp}x{number}", f"10.9.{number // 250 % 250}.{number % 250 + 1}")
        body = {"username": person.name, "email": f"{person.name}@example.com", "password": PASSWORD}
        # 409: an attempt without a response has registered the account; its first sign-in says its id.
        reply = await self.ask(post(f"{API}/users", body, person.origin), {201, 409})
        if reply.status == 409:
            await self.sign_in(person)
            reply = await self.ask(get(f"{API}/auth/me", person.bearer, person.origin), {200})
        person.id = int(reply.json()["id"])
        return person

    async def join_as_admin(self) -> Person:
        """An admin, who has signed in."""
        person = await self.join()
        statement = "UPDATE users SET role = 'admin' WHERE id = %s"
        await asyncio.to_thread(self._platform.server.query, "drill_auth", statement, person.id)
        await self.sign_in(person)
        return person

    async def sign_in(self, person: Person) -> None:
        form = {"username": person.name, "password": PASSWORD}
        person.take_tokens(await self.ask(post_form(f"{API}/auth/login", form, person.origin), {200}))

    async def log_out(self, person: Person, scope: str = "local") -> None:
        request = Request("POST", f"{API}/auth/logout?scope={scope}", (person.bearer, person.origin))
        # 401: an attempt without a response has ended the session.
        await self.ask(request, {204, 401})

    async def change(self, person: Person, **changes: object) -> None:
        """As an admin."""
        if not self._admin.id:
            self._admin = await self.join_as_admin()
        await self.ask(patch_user(person.id, changes, self._admin), {200})

    async def ask(self, request: Request, expected: Collection[int]) -> Reply:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while (reply := await self._client.send(request)).status not in _DEFINITE:
                await asyncio.sleep(_PAUSE_SECONDS)
        if reply.status not in expected:
            raise RuntimeError(f"{request.method} {request.path}: {reply}")
        return reply

    def query(self, statement: str, *parameters: object) -> Sequence[tuple[object, ...]]:
        """Ask auth's database."""
        return self._platform.server.query("drill_auth", statement, *parameters)

    async def close(self) -> None:
        await self._client.close()


@asynccontextmanager
async def open_accounts(platform: Platform) -> AsyncIterator[Accounts]:
    accounts = Accounts(platform)
    try:
        yield accounts
    finally:
        await accounts.close()


def patch_user(user_id: int, changes: dict[str, object], admin: Person, prefix: str = API) -> Request:
    request = post(f"{prefix}/users/{user_id}", changes, admin.bearer, admin.origin)
    return Request("PATCH", request.path, request.headers, request.body)
