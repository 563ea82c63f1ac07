"""Receivers of webhooks on loopback that a test controls, their check of signatures, and events to send."""

import asyncio
import base64
import hashlib
import hmac
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kpi_auth.context import Context
from kpi_auth.events import repository as events
from kpi_auth.events.models import EventType
from kpi_auth.events.payloads import AccountState
from kpi_auth.webhooks import service
from kpi_auth.webhooks.service import WithSecret
from kpi_auth.webhooks.worker import WebhookWorker
from kpi_shared.caller import Role, Subject
from kpi_shared.database import AnyRow, Database
from sqlalchemy import text

ROOT = Subject(1, "root", Role.ADMIN, session_id="1", token_id="", expires_at=datetime.now(UTC))

# Makes a worker; see conftest.py of the tests of webhooks.
NewWorker = Callable[..., WebhookWorker]


def verify(body: bytes, fields: Mapping[str, str], *, secret: str) -> bool:
    """What a receiver does, written after the specification and not with our code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join((fields["webhook-id"].encode(), fields["webhook-timestamp"].encode(), body))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    versions = [entry.split(",", 1) for entry in fields["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(found, expected) for version, found in versions)


@dataclass(frozen=True)
class Message:
    """A request that a receiver got."""

    target: str
    fields: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def seq(self) -> int:
        return int(self.event["seq"])

    @property
    def account_id(self) -> int:
        return int(self.event["account_id"])


Answer = Callable[[Message, asyncio.StreamWriter], Awaitable[None]]


def status(code: int, *fields: str) -> Answer:
    """A response with this status."""
    head = "\r\n".join((f"HTTP/1.1 {code} X", "Content-Length: 2", *fields))

    async def answer(_message: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{head}\r\n\r\nok".encode())
        await writer.drain()

    return answer


async def hang(_message: Message, writer: asyncio.StreamWriter) -> None:
    """No response until the client gives up."""
    with suppress(ConnectionError):
        while not writer.is_closing():  # noqa: ASYNC110 the client's effect
            await asyncio.sleep(0.01)


async def reset(_message: Message, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@dataclass
class Receiver:
    """``answer`` decides the response to each message; ``port`` is set once it runs."""

    answer: Answer = field(default_factory=lambda: status(200))
    port: int = 0
    messages: list[Message] = field(default_factory=list)
    # How many requests are answered right now, and the most that were.
    open: int = 0
    most_open: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def seqs(self) -> list[int]:
        return [message.seq for message in self.messages]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                message = await _read(reader)
                self.messages.append(message)
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                try:
                    await self.answer(message, writer)
                finally:
                    self.open -= 1
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Message:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(fields["content-length"]))
    return Message(head[0].split(" ")[1], fields, body)


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[Receiver]:
    tasks: set[asyncio.Task[None]] = set()
    is_over = False

    def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_over:
            writer.transport.abort()
            return
        task = asyncio.create_task(receiver.handle(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connect, "127.0.0.1", receiver.port)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        is_over = True
        server.close()
        for task in set(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _wait_for_connections(server)


async def _wait_for_connections(server: asyncio.Server) -> None:
    """Also for those that were accepted, or were in their handshake, when the server was closed."""
    async with asyncio.timeout(60):
        await server.wait_closed()
        # Before Python 3.12 that does not wait for connections.
        while sys.version_info < (3, 12) and server._active_count:  # type: ignore[attr-defined]  # noqa: ASYNC110 as it says
            await asyncio.sleep(0.01)


async def sign_in_root(database: Database) -> None:
    """``ROOT`` has an account and a session, which each change of a webhook checks."""
    user = "INSERT INTO users (id, username, role) VALUES (1, 'root', 'admin') ON CONFLICT DO NOTHING"
    session = "INSERT INTO sessions (id, user_id, secret) VALUES (1, 1, sha256('root')) ON CONFLICT DO NOTHING"
    for statement in (user, session):
        await execute(database, statement)


async def add_webhook(context: Context, url: str, *event_types: str) -> WithSecret:
    wanted = {"url": url, "event_types": list(event_types), "description": None, "is_active": True}
    async with context.database.writing() as connection:
        return await service.create(context, connection, caller=ROOT, wanted=wanted)


async def publish(database: Database, *account_ids: int, kind: EventType = EventType.ACCOUNT_RENAMED) -> None:
    """An event of each of these accounts, with its place in the order."""
    async with database.writing() as connection:
        for number, account_id in enumerate(account_ids, start=1):
            state = AccountState(
                id=account_id, username="anna", role=Role.USER, is_active=True, is_deleted=False, version=number
            )
            await events.put(connection, kind, state, account_id=account_id)
    async with database.writing() as connection:
        while await events.number(connection, most=500):
            pass


async def rows(database: Database) -> list[AnyRow]:
    """The deliveries that are left."""
    async with database.reading() as connection:
        statement = (
            "SELECT *, extract(epoch FROM due_at - now()) AS wait FROM webhook_deliveries ORDER BY webhook_id, seq"
        )
        return list((await connection.execute(text(statement))).all())


async def webhook_row(database: Database, webhook_id: int) -> AnyRow:
    async with database.reading() as connection:
        return await service.get_or_raise(connection, webhook_id=webhook_id)


async def execute(database: Database, statement: str, **values: object) -> None:
    async with database.writing() as connection:
        await connection.execute(text(statement), values)


@asynccontextmanager
async def at_work(*workers: WebhookWorker) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for worker in workers:
            await worker.finish()


async def attempt_due(worker: WebhookWorker) -> None:
    """Queue all events, attempt once what is due, and wait until that is settled."""
    while await worker._queue_events():
        pass
    await worker._start_due()
    await asyncio.gather(*worker._in_flight._tasks)


async def wait_for_rows(database: Database, count: int) -> None:
    async with asyncio.timeout(60):
        while len(await rows(database)) != count:  # noqa: ASYNC110 a worker's effects
            await asyncio.sleep(0.02)
