"""A body of 1 GiB each way through a gateway, and how much the gateway's memory grows during the transfer.

``python -m kpi_bench.bodies PORT`` is the server behind the gateway: it counts an uploaded body and responds with the
count, and sends a body of SIZE for a GET.
"""

import asyncio
import socket
import sys
import threading
import time
from typing import Self, cast
from urllib.parse import urlsplit

import httptools

from kpi_bench.options import BENCH
from kpi_bench.processes import LOAD_CORE, BenchError, Program, Server

SIZE = 2**30
_PIECE = bytes(2**18)
_PATIENCE_SECONDS = 120.0
_SAMPLE_SECONDS = 0.02


def program(port: int) -> Program:
    return Program([sys.executable, "-m", "kpi_bench.bodies", str(port)], core=LOAD_CORE, folder=BENCH)


def transfer(server: Server, url: str, *, upload: bool) -> dict[str, float]:
    """Seconds, and the growth of the server's memory in MB (1,000,000 bytes) during the transfer."""
    with _Peak(server) as peak:
        began = time.perf_counter()
        (_upload if upload else _download)(url)
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "mb_per_second": SIZE / 1e6 / seconds, "growth_mb": peak.growth / 1e6}


class _Peak:
    """Samples a server's memory at short intervals."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = server.memory_bytes()
        self._highest = self._before
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    @property
    def growth(self) -> int:
        return self._highest - self._before

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._highest = max(self._highest, self._server.memory_bytes())

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self._highest = max(self._highest, self._server.memory_bytes())


def _connection(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 80), timeout=_PATIENCE_SECONDS)


def _head(url: str, method: str, *fields: str) -> bytes:
    parts = urlsplit(url)
    lines = [f"{method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *fields, "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode()


def _upload(url: str) -> None:
    with _connection(url) as connection:
        try:
            connection.sendall(_head(url, "POST", f"Content-Length: {SIZE}", "Content-Type: application/octet-stream"))
            for _ in range(SIZE // len(_PIECE)):
                connection.sendall(_PIECE)
        except OSError as error:
            # A response that was sent before the connection broke is more informative than the error.
            raise BenchError(f"{url}: {error}; response: {connection.recv(4096)!r}") from error
        response = b""
        while piece := connection.recv(65536):
            response += piece
    if not response.startswith(b"HTTP/1.1 200") or str(SIZE).encode() not in response.partition(b"\r\n\r\n")[2]:
        raise BenchError(f"{url}: the response to the upload was {response[:400]!r}")


def _download(url: str) -> None:
    """Count the bytes after the head, including the framing of chunks if the gateway adds any."""
    room = bytearray(2**18)
    with _connection(url) as connection:
        connection.sendall(_head(url, "GET"))
        got = connection.recv_into(room)
        head, _, body = bytes(room[:got]).partition(b"\r\n\r\n")
        count = len(body)
        while got := connection.recv_into(room):
            count += got
    if not head.startswith(b"HTTP/1.1 200") or not SIZE <= count < SIZE * 1.01:
        raise BenchError(f"{url}: the download had {count} bytes after {head[:400]!r}")


class _Bodies(asyncio.Protocol):
    def __init__(self) -> None:
        self._count = 0
        self._may_write = asyncio.Event()
        self._may_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self._may_write.set()

    def on_message_begin(self) -> None:
        self._count = 0

    def on_url(self, url: bytes) -> None:
        # Some clients add a question mark with an empty query.
        self._large = url.rstrip(b"?").endswith(b"/large")

    def on_body(self, body: bytes) -> None:
        self._count += len(body)

    def on_message_complete(self) -> None:
        if self._large and self._parser.get_method() == b"GET":
            self._sending = asyncio.get_running_loop().create_task(self._send())
            return
        count = str(self._count).encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(count), count))

    async def _send(self) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % SIZE
        )
        for _ in range(SIZE // len(_PIECE)):
            await self._may_write.wait()
            if self._transport.is_closing():
                return
            self._transport.write(_PIECE)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Bodies, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1])))
