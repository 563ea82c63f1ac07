"""A client that sends each request on time, through one of several gateways, and says what came of it."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Reply:
    """What came of one request; ``status`` is 0 if no response came."""

    status: int
    took: float
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 400

    @property
    def is_definite(self) -> bool:
        """Whether the server says by it that the request has, or has not, been done."""
        return 0 < self.status < 500

    @property
    def has_retry_after(self) -> bool:
        return "retry-after" in self.headers

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @property
    def is_safe(self) -> bool:
        return self.method in {"GET", "HEAD"}

    def encode(self) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: drill"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body or not self.is_safe:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def get(path: str, *headers: tuple[str, str]) -> Request:
    return Request("GET", path, headers)


def post(path: str, body: Mapping[str, object], *headers: tuple[str, str]) -> Request:
    return Request("POST", path, (("Content-Type", "application/json"), *headers), json.dumps(body).encode())


def post_form(path: str, form: Mapping[str, str], *headers: tuple[str, str]) -> Request:
    kind = ("Content-Type", "application/x-www-form-urlencoded")
    return Request("POST", path, (kind, *headers), urlencode(form).encode())


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.is_used = False
        self.is_over = False

    @property
    def is_open(self) -> bool:
        return not (self.is_over or self._reader.at_eof() or self._writer.is_closing())

    async def send(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        body = b"" if status in {204, 304} else await self._read_body(headers)
        self.is_over = headers.get("connection", "").lower() == "close"
        self.is_used = True
        return status, headers, body

    async def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await self._reader.readexactly(int(headers.get("content-length", "0")))
        body = b""
        while size := int((await self._reader.readline()).split(b";")[0], 16):
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readline()
        return body

    def close(self) -> None:
        with suppress(OSError, RuntimeError):
            self._writer.transport.abort()


class Client:
    """Keeps connections to each of the addresses; ``source`` is the address that it connects from."""

    def __init__(self, ports: Sequence[int], *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._ports = tuple(ports)
        self._timeout = timeout
        self._free: dict[int, list[_Connection]] = {port: [] for port in ports}
        self._turn = 0

    async def send(self, request: Request, *, timeout: float | None = None) -> Reply:  # noqa: ASYNC109 a client's own
        """Send it through the next gateway. One that refuses the connection is passed over, as a balancer does it."""
        began = time.perf_counter()
        self._turn += 1
        start = self._turn
        ports = [self._ports[(start + number) % len(self._ports)] for number in range(len(self._ports))]
        try:
            async with asyncio.timeout(timeout or self._timeout):
                return await self._send_to_first(ports, request, began)
        except TimeoutError:
            return Reply(0, time.perf_counter() - began)

    async def _send_to_first(self, ports: Sequence[int], request: Request, began: float) -> Reply:
        for port in ports:
            with suppress(ConnectionRefusedError):
                return await self._send_to(port, request, began)
        return Reply(0, time.perf_counter() - began)

    async def _send_to(self, port: int, request: Request, began: float) -> Reply:
        while True:
            connection = await self._take(port)
            was_used = connection.is_used
            try:
                status, headers, body = await connection.send(request.encode())
            except (OSError, EOFError, ValueError, IndexError):
                connection.close()
                # The other side may close an idle connection at any time: a safe request is then sent again.
                if was_used and request.is_safe:
                    continue
                return Reply(0, time.perf_counter() - began)
            except BaseException:
                connection.close()
                raise
            self._put_back(port, connection)
            return Reply(status, time.perf_counter() - began, headers, body)

    async def _take(self, port: int) -> _Connection:
        free = self._free[port]
        while free:
            connection = free.pop()
            if connection.is_open:
                return connection
            connection.close()
        return _Connection(*await asyncio.open_connection("127.0.0.1", port))

    def _put_back(self, port: int, connection: _Connection) -> None:
        if connection.is_open:
            self._free[port].append(connection)
        else:
            connection.close()

    async def close(self) -> None:
        for free in self._free.values():
            while free:
                free.pop().close()
        # The sockets are closed in the next round of the loop.
        await asyncio.sleep(0)
