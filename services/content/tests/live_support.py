"""Readers of conversations over real connections, and the conversations that they read."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from content_support import Caller
from kpi_content.settings import ContentSettings
from kpi_shared.database import Database
from sqlalchemy import text


@dataclass(frozen=True)
class Event:
    id: int | None
    type: str
    data: Any


def parse_event(block: str) -> Event | None:
    """None for a comment, or the time to wait before another attempt."""
    fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
    if "event" not in fields:
        return None
    return Event(int(fields["id"]) if "id" in fields else None, fields["event"], json.loads(fields["data"]))


@dataclass
class Reading:
    """What a reader has received so far. ``is_over``: the response has ended regularly."""

    status: int = 0
    events: list[Event] = field(default_factory=list)
    received: str = ""
    is_over: bool = False
    _rest: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def of(self, event_type: str) -> list[Any]:
        return [event.data for event in self.events if event.type == event_type]

    @property
    def numbers(self) -> list[int]:
        return [message["number"] for message in self.of("message.created")]

    @property
    def last_id(self) -> int:
        return max(event.id for event in self.events if event.id is not None)

    def has_more_than(self, count: int) -> bool:
        return len(self.events) > count

    def take(self, text: str) -> None:
        self.received += text
        *blocks, self._rest = (self._rest + text).split("\n\n")
        self.events += [event for block in blocks if (event := parse_event(block)) is not None]


@asynccontextmanager
async def follow(url: str, headers: Mapping[str, str], *, last: int | None = None) -> AsyncIterator[Reading]:
    """Read a stream during the block, once its response has begun."""
    reading = Reading()
    task = asyncio.create_task(read_stream(url, headers, reading, last=last))
    try:
        await wait_until(lambda: bool(reading.events) or task.done())
        if task.done():
            task.result()
        yield reading
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def read_stream(url: str, headers: Mapping[str, str], reading: Reading, *, last: int | None = None) -> None:
    more = {} if last is None else {"Last-Event-ID": str(last)}
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", url, headers={**headers, **more}) as response,
    ):
        reading.status, reading.headers = response.status_code, dict(response.headers)
        async for text in response.aiter_text():
            reading.take(text)
    reading.is_over = True


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 the condition is that of the code under test
            await asyncio.sleep(0.01)


@dataclass
class Conversation:
    """A conversation of anna's, and how it is written in and followed at two addresses."""

    id: int
    owner: Caller
    addresses: tuple[str, str]
    client: httpx.AsyncClient
    database: Database
    written: list[dict[str, Any]] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"/conversations/{self.id}"

    def events(self, at: int = 0) -> str:
        return f"{self.addresses[at]}{self.path}/events"

    async def write(self, content: str = "hello", *, at: int = 0, by: Caller | None = None) -> dict[str, Any]:
        url = f"{self.addresses[at]}{self.path}/messages"
        response = await self.client.post(url, json={"content": content}, headers=(by or self.owner).headers)
        assert response.status_code == 201, response.text
        shown: dict[str, Any] = response.json()
        return shown

    async def share(self, caller: Caller, *, role: str = "writer") -> None:
        # An account is known once it has written something.
        await self._ask("POST", "/conversations", {"title": "Of wasps"}, by=caller)
        await self._ask("POST", f"{self.path}/members", {"user_id": caller.subject.id, "role": role})

    async def remove(self, caller: Caller) -> None:
        await self._ask("DELETE", f"{self.path}/members/{caller.subject.id}")

    async def change_role(self, caller: Caller, role: str) -> None:
        await self._ask("PATCH", f"{self.path}/members/{caller.subject.id}", {"role": role})

    async def delete(self) -> None:
        await self._ask("DELETE", self.path)

    async def _ask(self, method: str, path: str, body: object = None, *, by: Caller | None = None) -> None:
        headers = (by or self.owner).headers
        response = await self.client.request(method, self.addresses[0] + path, json=body, headers=headers)
        assert response.is_success, response.text

    async def execute(self, statement: str, **values: object) -> None:
        async with self.database.writing() as connection:
            await connection.execute(text(statement), {"id": self.id, **values})


@asynccontextmanager
async def failing_to_store(database: Database, conversation_id: int, *, how: str) -> AsyncIterator[None]:
    """Its row is locked during the block; at its end, the first statement that waits for it fails."""
    failing = text(
        f"SELECT {how}(pid) FROM pg_stat_activity"  # noqa: S608 a name of ours
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with database.writing() as holding:
        await holding.execute(text("SELECT FROM conversations WHERE id = :id FOR UPDATE"), {"id": conversation_id})
        yield
        async with asyncio.timeout(20), database.reading() as connection:
            while not (await connection.execute(failing)).all():  # noqa: ASYNC110 it waits in the database
                await asyncio.sleep(0.01)


async def create_conversation(
    addresses: tuple[str, str], database: Database, client: httpx.AsyncClient, owner: Caller
) -> Conversation:
    made = await client.post(f"{addresses[0]}/conversations", json={"title": "Of bees"}, headers=owner.headers)
    assert made.status_code == 201, made.text
    return Conversation(made.json()["id"], owner, addresses, client, database)


def environment_of(settings: ContentSettings, **more: str) -> dict[str, str]:
    url = settings.database_url.get_secret_value().replace("+psycopg", "")
    key = settings.paseto_secret_key.get_secret_value() if settings.paseto_secret_key else ""
    return {
        "DATABASE_URL": url,
        "LISTEN_DATABASE_URL": url,
        "PASETO_SECRET_KEY": key,
        "UPLOAD_SILENCE_TIMEOUT": "2",
        **more,
    }


class Sending:
    """A streamed upload, whose body is written piece by piece; a response may come before its end.

    Not httpx, which sends the whole body before it reads the response.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def write(self, *pieces: bytes | str) -> None:
        """A text is a line with a delta."""
        for piece in pieces:
            data = piece if isinstance(piece, bytes) else json.dumps({"delta": piece}).encode() + b"\n"
            if data:
                self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> httpx.Response:
        self._writer.write(b"0\r\n\r\n")
        return await self.response()

    async def response(self) -> httpx.Response:
        async with asyncio.timeout(30):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = httpx.Headers([(name, value) for name, _, value in (line.partition(": ") for line in head[1:-2])])
            body = await self._reader.readexactly(int(headers["Content-Length"]))
        self.leave()
        return httpx.Response(int(head[0].split(" ")[1]), headers=headers, content=body)

    def leave(self) -> None:
        self._writer.close()


async def send(
    conversation: Conversation,
    *,
    by: Caller | None = None,
    at: int = 0,
    kind: str = "application/x-ndjson",
    query: str = "?stream=true",
) -> Sending:
    address = urlsplit(conversation.addresses[at])
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    headers = {
        "Host": address.netloc,
        "Content-Type": kind,
        "Transfer-Encoding": "chunked",
        **(by or conversation.owner).headers,
    }
    lines = [f"POST {conversation.path}/messages{query} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    return Sending(reader, writer)
