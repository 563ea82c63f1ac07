"""An HTTP proxy that breaks the connection of a request where the request itself says."""

import asyncio
import re
from contextlib import suppress
from enum import StrEnum

_PIECE = 65_536
FIELD = "X-Drill-Cut"
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_FIELD = re.compile(rb"\r\n" + FIELD.encode() + rb": ([a-z]+)\r\n")


class Cut(StrEnum):
    # Half of the request has passed.
    SENDING = "sending"
    # All of the request has passed, and nothing waits for the response.
    BEFORE = "before"
    # The response has come, and none of it has passed.
    LOST = "lost"
    # Half of the response has passed.
    WHILE = "while"
    # The whole response has passed.
    AFTER = "after"


class CuttingProxy:
    """Forwards to ``target``, a port on the loopback interface. A request is one piece."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen on a free port and return it."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        out: asyncio.StreamWriter | None = None
        # A cancelled handler is reported as an error by asyncio.
        with suppress(OSError, EOFError, asyncio.CancelledError):
            back, out = await asyncio.open_connection("127.0.0.1", self._target)
            while request := await reader.read(_PIECE):
                if await _pass(request, out, back, writer):
                    break
            await writer.drain()
        for end in (writer, out):
            if end is not None:
                end.close()


async def _pass(
    request: bytes, out: asyncio.StreamWriter, back: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Whether the connection is to be broken now."""
    found = _FIELD.search(request)
    cut = Cut(found[1].decode()) if found else None
    if cut is Cut.SENDING:
        out.write(request[: len(request) // 2])
        return True
    out.write(request)
    if cut is Cut.BEFORE:
        # The server begins with it.
        await out.drain()
        await asyncio.sleep(0.002)
        return True
    response = await _read_response(back)
    if cut is Cut.LOST:
        return True
    writer.write(response[: len(response) // 2] if cut is Cut.WHILE else response)
    await writer.drain()
    return cut is not None


async def _read_response(back: asyncio.StreamReader) -> bytes:
    head = await back.readuntil(b"\r\n\r\n")
    found = _LENGTH.search(head)
    return head + await back.readexactly(int(found[1]) if found else 0)
