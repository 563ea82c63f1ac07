"""A stand-in for auth's feed on a port of its own, which also behaves badly."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import StrEnum, auto
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEY = "".join(f"{number:02x}" for number in range(40, 72))
BEAT = 0.05


class Mood(StrEnum):
    """How the stand-in treats the streams of events that are open or asked for."""

    WELL = auto()
    SILENT = auto()
    GARBAGE = auto()
    HALF_LINES = auto()
    DRIPPING = auto()
    ENDLESS_LINE = auto()
    ENDING = auto()
    BEHIND = auto()
    UNREADABLE = auto()


Write = Callable[[bytes], Awaitable[None]]


class StandIn:
    """What auth would serve: ``revocations`` and ``events`` up to ``seq``, ``accounts`` by id."""

    def __init__(self) -> None:
        self.mood = Mood.WELL
        self.status = 200
        self.behind = 0.0
        # Seconds before a snapshot is sent, and between the time of a heartbeat and that of its sending.
        self.snapshot_delay = 0.0
        self.path_delay = 0.0
        self.has_times = True
        self.heartbeats = 0
        self.events: list[dict[str, Any]] = []
        self.revocations: list[dict[str, Any]] = []
        self.accounts: dict[int, dict[str, Any]] = {}
        self.kept_after = 0
        self.seq = 0
        self.asked: list[str] = []
        self.address = ""
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()

    def publish(self, kind: str, *, account_id: int | None = None, **data: object) -> None:
        self.seq += 1
        event = {"seq": self.seq, "type": kind, "schema_version": 1, "account_id": account_id, "data": data}
        self.events.append(event | {"occurred_at": "2026-11-27T12:00:00Z"})

    def change(self, account_id: int, kind: str = "account.renamed", **changes: object) -> None:
        """Change an account and publish its state."""
        known = {"id": account_id, "username": f"user{account_id}", "role": "user", "version": 0}
        known |= {"is_active": True, "is_deleted": False} | self.accounts.get(account_id, {})
        self.accounts[account_id] = known | changes | {"version": known["version"] + 1}
        self.publish(kind, account_id=account_id, **self.accounts[account_id])

    def cut(self) -> None:
        """End all connections, as a killed process does."""
        for writer in self._writers:
            writer.transport.abort()

    async def end(self) -> None:
        self.cut()
        if self._serving:
            await asyncio.wait(self._serving)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                if head.startswith("POST /internal/token-keys/holders "):
                    await reader.readexactly(int(head.lower().partition("content-length: ")[2].partition("\r\n")[0]))
                    await _send(writer, 200, {"killed": []})
                else:
                    await self._respond(head, writer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _respond(self, head: str, writer: asyncio.StreamWriter) -> None:
        target = urlsplit(head.split(" ")[1])
        self.asked.append(target.path)
        query = {name: int(value) for name, value in parse_qsl(target.query)}
        if f"authorization: bearer {KEY}\r\n" not in head.lower():
            await _send(writer, 401, {"type": "feed-key-required"})
        elif self.status != 200:
            await _send(writer, self.status, {"type": "some-problem"})
        elif target.path == "/internal/feed/events":
            await self._stream(writer, query["after"])
        else:
            answer = self._answer(target.path, query)
            if target.path == "/internal/feed/revocations":
                await asyncio.sleep(self.snapshot_delay)
            await _send(writer, *answer)

    def _answer(self, path: str, query: dict[str, int]) -> tuple[int, dict[str, Any]]:
        if path == "/internal/feed/revocations":
            return 200, {"seq": self.seq, "revocations": self.revocations}
        if path == "/internal/feed/events/page":
            if not self.kept_after <= query["after"] <= self.seq:
                return 410, {"type": "events-gone"}
            items = [event for event in self.events if event["seq"] > query["after"]][: query["limit"]]
            return 200, {"items": items, "last": items[-1]["seq"] if items else query["after"]}
        accounts = [account for number, account in sorted(self.accounts.items()) if number > query["after"]]
        page = accounts[: query["limit"]]
        return 200, {"seq": self.seq, "items": page, "next": page[-1]["id"] if len(accounts) > len(page) else None}

    async def _stream(self, writer: asyncio.StreamWriter, after: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")

        async def write(data: bytes) -> None:
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()

        while not writer.transport.is_closing():
            for event in [event for event in self.events if event["seq"] > after]:
                await self._write_line(write, event)
                after = event["seq"]
            behind = 3.0 if self.mood is Mood.BEHIND else self.behind
            time = {"at": monotonic() - self.path_delay} if self.has_times else {}
            await self._write_line(write, {"heartbeat": True, "seq": after, "behind": behind, **time})
            self.heartbeats += 1
            if self.mood is Mood.ENDING:
                raise OSError("as a server that stops")
            await asyncio.sleep(BEAT)

    async def _write_line(self, write: Write, item: dict[str, Any]) -> None:
        line = json.dumps(item).encode() + b"\n"
        match self.mood:
            case Mood.SILENT:
                return
            case Mood.GARBAGE:
                await write(b"\xff\x00 not JSON at all\n")
            case Mood.UNREADABLE:
                event = {"seq": item["seq"], "type": "session.ended", "account_id": 1, "data": {}}
                await write(json.dumps(event).encode() + b"\n")
            case Mood.ENDLESS_LINE:
                await write(b"x" * 700_000)
            case Mood.DRIPPING:
                await write(b" ")
            case Mood.HALF_LINES:
                for at in range(0, len(line), 7):
                    await write(line[at : at + 7])
                    await asyncio.sleep(0)
            case _:
                await write(line)


async def _send(writer: asyncio.StreamWriter, status: int, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()


@asynccontextmanager
async def stand_in() -> AsyncIterator[StandIn]:
    feed = StandIn()
    server = await asyncio.start_server(feed.serve, "127.0.0.1", 0)
    feed.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield feed
    finally:
        server.close()
        await feed.end()


async def eventually(condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = 20.0) -> None:
    """Wait for an effect of another task; TimeoutError if it does not come."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if result if isinstance(result, bool) else await result:
                return
            await asyncio.sleep(0.01)
