"""What an endpoint that creates uses in place of a connection: ``Once``.

``writing``, ``committing`` and ``direct`` begin the transaction of the effect, and ``keep`` stores the response in it.
A request whose key has a stored response ends with that response instead. Without a key they are the database's own.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, NamedTuple

from fastapi import Depends, FastAPI, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_shared.caller import Subject
from kpi_shared.database import Database, DirectConnection, get_direct
from kpi_shared.idempotency import repository
from kpi_shared.idempotency.errors import KeyReusedError, RequestInFlightError
from kpi_shared.idempotency.keys import hash_key, owner_of, parse_key
from kpi_shared.idempotency.sealing import ResponseSeal, derive_keys, fingerprint


class ProcessedBefore(Exception):  # noqa: N818 it is no error
    """The request was processed before, with this response."""

    def __init__(self, response: Response) -> None:
        super().__init__("processed before")
        self.response = response


# How a request with a key ends before it has any effect.
NOT_PROCESSED = (ProcessedBefore, RequestInFlightError, KeyReusedError)


class _Claim(NamedTuple):
    connection: AsyncConnection
    key_hash: bytes
    seal: ResponseSeal


# What a stored response needs beside a valid token, such as still being a member: it raises if that is missing.
Requirement = Callable[[AsyncConnection], Awaitable[None]]


class OnceOnly:
    """One request that creates. ``owner`` is the caller, or a text for a request without one (``owner_of``).

    ``has_body`` is False if the body is read as it comes, and does not identify the request.
    """

    def __init__(self, request: Request, *, has_body: bool = True) -> None:
        self._request = request
        self._has_body = has_body
        self._database: Database = request.app.state.database
        self._key = parse_key(request.headers.getlist("idempotency-key"))
        self._claim: _Claim | None = None

    def hash_of(self, owner: Subject | str) -> bytes | None:
        """By which the table knows the key; None without one."""
        if self._key is None:
            return None
        return hash_key(self._key, owner if isinstance(owner, str) else owner_of(owner))

    async def look_up(self, owner: Subject | str) -> None:
        """End with the stored response, if there is one: before work that need not be done again."""
        if self._key is None:
            return
        key_hash, seal = await self._identify(self._key, owner)
        async with self._database.reading() as connection:
            sealed = await repository.find(connection, key_hash=key_hash)
        if sealed is not None:
            raise ProcessedBefore(seal.open(sealed))

    def writing(
        self, owner: Subject | str, *, require: Requirement | None = None
    ) -> AbstractAsyncContextManager[AsyncConnection]:
        """The transaction; RequestInFlightError, KeyReusedError, or the end with the stored response."""
        return self._database.writing() if self._key is None else self._claiming(self._key, owner, require)

    def committing(
        self, owner: Subject | str, *, require: Requirement | None = None
    ) -> AbstractAsyncContextManager[AsyncConnection]:
        """As ``writing``; without a key each statement is a transaction."""
        return self._database.committing() if self._key is None else self._claiming(self._key, owner, require)

    def direct(
        self, owner: Subject | str, *, require: Requirement | None = None
    ) -> AbstractAsyncContextManager[DirectConnection]:
        """As ``committing``, with the driver's own connection."""
        return self._database.direct() if self._key is None else self._claiming_directly(self._key, owner, require)

    async def keep(self, response: Response) -> Response:
        """The response, stored for retries. Call it last in the block of the transaction."""
        if self._claim is not None:
            connection, key_hash, seal = self._claim
            if not await repository.store(connection, key_hash=key_hash, sealed=seal.seal(response)):
                raise RequestInFlightError
        return response

    @asynccontextmanager
    async def _claiming(
        self, key: str, owner: Subject | str, require: Requirement | None
    ) -> AsyncIterator[AsyncConnection]:
        # Before the transaction: it may read the body.
        key_hash, seal = await self._identify(key, owner)
        async with self._database.writing() as connection:
            is_locked = await repository.try_lock(connection, key_hash=key_hash)
            # Without the lock too: its holder may be another replay.
            sealed = await repository.find(connection, key_hash=key_hash)
            if sealed is None:
                if not is_locked:
                    raise RequestInFlightError
                self._claim = _Claim(connection, key_hash, seal)
                yield connection
                return
            if require is not None:
                await require(connection)
        # After the transaction: it may be long.
        raise ProcessedBefore(seal.open(sealed))

    @asynccontextmanager
    async def _claiming_directly(
        self, key: str, owner: Subject | str, require: Requirement | None
    ) -> AsyncIterator[DirectConnection]:
        async with self._claiming(key, owner, require) as connection:
            yield await get_direct(connection)

    async def _identify(self, key: str, owner: Subject | str) -> tuple[bytes, ResponseSeal]:
        secrets: tuple[bytes, ...] = self._request.app.state.idempotency_secrets
        name = owner if isinstance(owner, str) else owner_of(owner)
        body = await self._request.body() if self._has_body else b""
        return hash_key(key, name), ResponseSeal(derive_keys(key, secrets), fingerprint(self._request, body))


async def _once(request: Request) -> OnceOnly:
    return OnceOnly(request)


async def _streamed_once(request: Request) -> OnceOnly:
    return OnceOnly(request, has_body=False)


Once = Annotated[OnceOnly, Depends(_once)]
StreamedOnce = Annotated[OnceOnly, Depends(_streamed_once)]


def install_retry_handler(app: FastAPI) -> None:
    app.add_exception_handler(ProcessedBefore, _send_stored)


async def _send_stored(_request: Request, stored: Exception) -> Response:
    assert isinstance(stored, ProcessedBefore)  # noqa: S101 the handler is registered for this type only
    return stored.response
