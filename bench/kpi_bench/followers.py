"""Readers of conversations and a writer, as a process of its own: ``python -m kpi_bench.followers COMMAND``, with the
arguments as one JSON object on standard input.

``deliver`` writes messages at a constant rate and follows the conversation at another address; it prints the latencies.
``hold`` opens streams, prints how many are open, and holds them until the next line of standard input.
"""

import asyncio
import gc
import json
import re
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

# How long to wait for messages after the last one is written, and for all streams to open.
LATE_SECONDS = 5.0
_OPEN_SECONDS = 60.0
# At a time, while streams are opened: the core of the servers has other work, too.
_OPENING = 16
_LENGTH = re.compile(rb"\ncontent-length: (\d+)")
_CONTENT = re.compile(rb'"content":\s*"at ([0-9.]+)"')


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port)


def _request(method: bytes, path: str, token: str, body: bytes = b"") -> bytes:
    head = b"%b %b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n" % (method, path.encode(), token.encode())
    if body:
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    return head + b"\r\n" + body


async def _open_stream(url: str, path: str, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream whose first event has arrived."""
    reader, writer = await _connect(url)
    writer.write(_request(b"GET", path, token))
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{path}: {head.decode()}")
    await reader.readuntil(b"event: ready")
    return reader, writer


class _Writers:
    """Connections that are opened as needed, each with one request at a time."""

    def __init__(self, url: str, path: str, token: str) -> None:
        self._url, self._path, self._token = url, path, token
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.errors = 0

    async def write(self) -> None:
        reader, writer = self._free.pop() if self._free else await _connect(self._url)
        body = b'{"content": "at %.6f"}' % time.perf_counter()
        writer.write(_request(b"POST", self._path, self._token, body))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = _LENGTH.search(head)
        await reader.readexactly(int(length[1]) if length else 0)
        self.errors += not head.startswith(b"http/1.1 201")
        self._free.append((reader, writer))

    def close(self) -> None:
        for _, writer in self._free:
            writer.close()


async def _note_arrivals(reader: asyncio.StreamReader, times: list[float]) -> None:
    rest = b""
    while data := await reader.read(65536):
        now = time.perf_counter()
        *events, rest = (rest + data).split(b"\n\n")
        times += [now - float(found[1]) for event in events if (found := _CONTENT.search(event))]


async def _write_steadily(writers: _Writers, rate: float, total: int) -> None:
    """Each starts at its time, even if earlier ones are not complete."""
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(total):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            group.create_task(writers.write())


async def deliver(
    *, write: str, read: str, token: str, conversation: int, rate: float, seconds: float
) -> dict[str, Any]:
    """Milliseconds from sending each message until its event is read. The first second only opens connections."""
    path = f"/api/v1/conversations/{conversation}"
    reader, writer = await _open_stream(read, f"{path}/events", token)
    times: list[float] = []
    noting = asyncio.create_task(_note_arrivals(reader, times))
    writers = _Writers(write, f"{path}/messages", token)
    await _write_steadily(writers, rate, int(rate))
    await asyncio.sleep(0.5)
    times.clear()
    writers.errors = 0
    total = int(rate * seconds)
    await _write_steadily(writers, rate, total)
    with suppress(TimeoutError):
        async with asyncio.timeout(LATE_SECONDS):
            while len(times) < total:  # noqa: ASYNC110 an event for each message would take its time
                await asyncio.sleep(0.01)
    noting.cancel()
    writer.close()
    writers.close()
    return {"milliseconds": [1000 * each for each in times], "lost": total - len(times), "errors": writers.errors}


async def hold(*, read: str, tokens: Sequence[str], conversations: Sequence[int], count: int) -> dict[str, Any]:
    places = asyncio.Semaphore(_OPENING)

    async def follow(number: int) -> asyncio.StreamWriter:
        async with places:
            which = number % len(conversations)
            path = f"/api/v1/conversations/{conversations[which]}/events"
            reader, writer = await _open_stream(read, path, tokens[which])
        draining.append(asyncio.create_task(_drain(reader)))
        return writer

    draining: list[asyncio.Task[None]] = []
    async with asyncio.timeout(_OPEN_SECONDS):
        writers = await asyncio.gather(*(follow(number) for number in range(count)))
    print(json.dumps({"open": len(writers)}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    cut = sum(task.done() for task in draining)
    for writer in writers:
        writer.close()
    return {"cut": cut}


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


def main() -> None:
    arguments = json.loads(sys.stdin.readline())
    gc.disable()
    commands: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]] = {"deliver": deliver, "hold": hold}
    run = commands[sys.argv[1]]
    print(json.dumps(asyncio.run(run(**arguments))), flush=True)


if __name__ == "__main__":
    main()
