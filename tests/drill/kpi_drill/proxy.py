"""A TCP proxy in front of PostgreSQL whose established connections can be silenced while new ones work."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

_PIECE = 65_536


@dataclass(eq=False)
class _Pair:
    """One client's connection and the one to the server. While ``flows`` is not set, nothing passes."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    flows: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """Forwards to ``target``, the port of a server on the loopback interface."""

    def __init__(self, target: int) -> None:
        self.target = target
        # New connections are closed at once, or accepted and never served.
        self.refuses = False
        self.swallows = False
        # How many pieces have passed, in both directions.
        self.pieces = 0
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen on a free port and return it."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    def silence(self) -> None:
        """Forward nothing more on the connections of now, in either direction, and close none of them."""
        for pair in self._pairs:
            pair.flows.clear()

    def resume(self) -> None:
        """Forward again on all connections, first what has waited."""
        for pair in self._pairs:
            pair.flows.set()

    def cut(self) -> None:
        """Close all connections."""
        for pair in self._pairs:
            pair.client.transport.abort()
            pair.server.transport.abort()
            pair.flows.set()

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self.refuses = True
        self.cut()
        # A cancelled handler is reported as an error by asyncio; these end by themselves.
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self.refuses:
            writer.transport.abort()
            return
        try:
            back, out = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        await self._forward(_Pair(writer, out), reader, back)

    async def _forward(self, pair: _Pair, client: asyncio.StreamReader, server: asyncio.StreamReader) -> None:
        if not self.swallows:
            pair.flows.set()
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(pair, client, pair.server))
                group.create_task(self._pump(pair, server, pair.client))
        finally:
            self._pairs.discard(pair)
            pair.client.transport.abort()
            pair.server.transport.abort()

    async def _pump(self, pair: _Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(_PIECE):
                await pair.flows.wait()
                self.pieces += 1
                sink.write(piece)
                await sink.drain()
        # A silenced connection passes on no end either.
        await pair.flows.wait()
        with suppress(OSError):
            sink.close()
