"""A client that observes an outage: each request starts on time, even if others are open, and its outcome is kept."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 10.0
_LENGTH = re.compile(rb"\ncontent-length: (\d+)")


class Outcome(StrEnum):
    """``REFUSED`` is a 503 or a 429 with ``Retry-After``; ``LOST`` is no response at all."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"
    LOST = "lost"


class Response(NamedTuple):
    """When the request was due, in seconds from the beginning; how long its response took, in seconds."""

    due: float
    took: float
    outcome: Outcome


class _Connection:
    """A persistent connection with only as much HTTP as these requests need."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.closing = False

    async def send(self, request: bytes) -> Outcome:
        self.writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = _LENGTH.search(head)
        await self._reader.readexactly(int(length[1]) if length else 0)
        self.closing = b"\nconnection: close" in head
        status = int(head[9:12])
        if status in {429, 503} and b"\nretry-after:" in head:
            return Outcome.REFUSED
        return Outcome.OK if status < 300 else Outcome.FAILED


@dataclass
class OutageClient:
    """Opens as many connections to one address as are in use at once."""

    url: str

    def __post_init__(self) -> None:
        self._free: list[_Connection] = []
        self.responses: list[Response] = []

    async def run(self, requests: Sequence[bytes], *, rate: float, seconds: float, begun: float) -> None:
        """Send the requests in turn. ``begun`` is the time.perf_counter() of the beginning."""
        async with asyncio.TaskGroup() as group:
            first = max(0, int((time.perf_counter() - begun) * rate))
            for number in range(first, first + int(rate * seconds)):
                await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
                group.create_task(self._send_on_time(requests[number % len(requests)], number / rate, begun))
        for connection in self._free:
            connection.writer.close()

    async def _send_on_time(self, request: bytes, due: float, begun: float) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                outcome = await self._send(request)
        except (OSError, EOFError, TimeoutError):
            outcome = Outcome.LOST
        self.responses.append(Response(due, time.perf_counter() - begun - due, outcome))

    async def _send(self, request: bytes) -> Outcome:
        connection = self._free.pop() if self._free else await self._open()
        try:
            outcome = await connection.send(request)
        except BaseException:
            connection.writer.close()
            raise
        if connection.closing:
            connection.writer.close()
        else:
            self._free.append(connection)
        return outcome

    async def _open(self) -> _Connection:
        parts = urlsplit(self.url)
        return _Connection(*await asyncio.open_connection(parts.hostname, parts.port))


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def post_form(path: str, form: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    return f"{head}Content-Length: {len(form)}\r\n\r\n{form}".encode()
