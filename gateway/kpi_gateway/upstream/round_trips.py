"""A request to an upstream, and its response as it arrives."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from kpi_gateway.upstream.contract import UpstreamError

# How much of a response is read ahead of a client that reads slowly.
_HIGH_WATER = 256 * 1024
_LOW_WATER = 64 * 1024
# The same of a stream, of which there are many.
STREAM_HIGH_WATER = 64 * 1024


class Carrier(Protocol):
    """The connection that a round trip has, from its beginning to its end."""

    def resume(self) -> None: ...

    def retire(self) -> None: ...

    def cut_short(self) -> None: ...

    def abandon(self, error: BaseException) -> None: ...


class RoundTrip:
    """One request on a connection, and its response as it arrives.

    It outlives its turn on the connection, which may serve another request while the client of this one still reads:
    a response is never kept in anything that two requests share.
    """

    __slots__ = (
        "_buffered",
        "_chunks",
        "_error",
        "_more",
        "complete",
        "connection",
        "deadline",
        "head",
        "headers",
        "is_repeatable",
        "is_sent",
        "is_stream",
        "no_body",
        "on_end",
        "silence",
        "status",
        "upload",
    )

    def __init__(
        self,
        *,
        no_body: bool,
        deadline: float,
        silence: float,
        on_end: Callable[[], None],
        is_repeatable: bool = False,
    ) -> None:
        """``deadline`` is the time by which the response must have begun, as the event loop counts; ``silence`` is the
        longest pause within a body, in seconds. ``on_end`` is called once, at the end of the response.
        """
        self.no_body = no_body
        self.deadline = deadline
        self.silence = silence
        self.on_end = on_end
        self.is_repeatable = is_repeatable
        self.is_stream = False
        self.head: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.connection: Carrier | None = None
        # Whether the request has been written, and if not, the task that is writing it.
        self.is_sent = True
        self.upload: asyncio.Task[None] | None = None
        self.complete = False
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._more: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    def complete_body(self) -> bytes | None:
        """The body, if all of it has arrived and none of it has been taken."""
        if not self.complete:
            return None
        chunks = self._chunks
        if len(chunks) == 1:
            return chunks[0]
        return b"".join(chunks)

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._buffered -= len(chunk)
                if self._buffered < _LOW_WATER and self.connection is not None:
                    self.connection.resume()
                yield chunk
            if self._error is not None:
                raise self._error
            if self.complete:
                return
            self._more = asyncio.get_running_loop().create_future()
            await self._more

    def become_stream(self, silence: float) -> None:
        """The response lasts. Its connection is not used again: a new one costs nothing in comparison."""
        self.is_stream = True
        self.silence = silence
        if self.connection is not None:
            self.connection.retire()

    def end(self) -> None:
        """Complete the response with what has arrived of it."""
        if self.connection is not None:
            self.connection.cut_short()

    def close(self) -> None:
        """End the round trip: a connection whose response is not complete serves no other request."""
        if self.connection is not None:
            self.connection.abandon(UpstreamError("The request was abandoned"))
        if self.upload is not None:
            self.upload.cancel()

    def feed(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        self._wake()

    @property
    def is_full(self) -> bool:
        return self._buffered > (STREAM_HIGH_WATER if self.is_stream else _HIGH_WATER)

    def fail(self, error: BaseException) -> None:
        if self.head.done():
            self._error = error
            self._wake()
        else:
            self.head.set_exception(error)
            # Marks the exception as retrieved: the task that waited for it may be gone.
            self.head.exception()
        self._end()

    def finish(self) -> None:
        self.complete = True
        self._wake()
        self._end()

    def _wake(self) -> None:
        more, self._more = self._more, None
        if more is not None and not more.done():
            more.set_result(None)

    def _end(self) -> None:
        self.connection = None
        self.on_end()
