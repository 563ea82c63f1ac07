"""The downstream side of one exchange: what the client sends, and whether it is still there."""

import asyncio
from typing import Self

from kpi_shared.http.middleware import BodyTooLargeError
from starlette.types import Receive, Scope

# A body of up to so many bytes is waited for before the upstream is troubled: a client that sends slowly then holds
# a connection of its own and nothing else.
_SPOOLED_BYTES = 128 * 1024
# Most answers are on their way before this, and for them nobody has to look out for the client.
_LOOK_OUT_AFTER_SECONDS = 0.1
_TICK_SECONDS = 0.05


class DownstreamGoneError(Exception):
    """The client closed its connection before it had its answer."""


class Downstream:
    """Reads the request's body, and ends the exchange when the client goes away or its time is over.

    ASGI tells of a client that left in the place of its next message, so somebody has to ask: the upload
    while there is one, and after it a task of its own, which few exchanges live to see.
    """

    __slots__ = (
        "_began",
        "_ends",
        "_first",
        "_is_late",
        "_limit",
        "_lookout",
        "_receive",
        "_taken",
        "_task",
        "ended",
        "gone",
        "length",
        "uploading",
    )

    def __init__(self, receive: Receive, *, limit: int, seconds: float) -> None:
        """``limit`` is how many bytes the request's body may have, ``seconds`` how long its exchange may take."""
        self._receive = receive
        self._limit = limit
        self._task = asyncio.current_task()
        self._began = asyncio.get_running_loop().time()
        self._ends = self._began + seconds
        self._is_late = False
        self._lookout: asyncio.Task[None] | None = None
        self._taken = 0
        self._first = b""
        self.length: bytes | None = None
        self.uploading = False
        # Whether the client has left, and whether the exchange was cancelled for that or because its time was over.
        self.gone = False
        self.ended = False

    async def body(self, scope: Scope) -> "bytes | Downstream | None":
        """None where there is no body, bytes where all of it has arrived, else this, to be iterated over.

        Raises BodyTooLargeError here where that is known already, or later.
        """
        comes, self.length = _framing(scope)
        if not comes:
            return None
        if self.length is not None and int(self.length[:20]) > self._limit:
            raise self._too_large()
        self.uploading = True
        pieces = []
        while self.uploading and self._taken <= _SPOOLED_BYTES:
            pieces.append(await self._piece())
        self._first = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._is_late:
            self._begin_lookout()
        return self if self.uploading else self._first

    def look_after(self, now: float) -> None:
        """Called again and again while the exchange is under way."""
        if now >= self._ends:
            self._end()
        elif not self._is_late and now - self._began >= _LOOK_OUT_AFTER_SECONDS:
            self._is_late = True
            self._begin_lookout()

    def _end(self) -> None:
        if not self.ended and self._task is not None:
            self.ended = True
            self._task.cancel()

    def stop(self) -> None:
        if self._lookout is not None:
            self._lookout.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        while self.uploading:
            if piece := await self._piece():
                return piece
        self._begin_lookout()
        raise StopAsyncIteration

    async def _piece(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = True
            raise DownstreamGoneError
        self.uploading = message["more_body"]
        piece = bytes(message["body"])
        self._taken += len(piece)
        if self._taken > self._limit:
            raise self._too_large()
        return piece

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"At most {self._limit} bytes are taken")

    def _begin_lookout(self) -> None:
        if not self.uploading and self._lookout is None:
            self._lookout = asyncio.create_task(self._look_out())

    async def _look_out(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._end()


class Watch:
    """Looks after all exchanges at once, some times a second: a timer for each would cost more than most need."""

    def __init__(self) -> None:
        self._watched: set[Downstream] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, downstream: Downstream) -> None:
        self._watched.add(downstream)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def remove(self, downstream: Downstream) -> None:
        self._watched.discard(downstream)
        downstream.stop()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for downstream in self._watched:
            downstream.look_after(now)
        self._timer = loop.call_later(_TICK_SECONDS, self._tick) if self._watched else None


def _framing(scope: Scope) -> tuple[bool, bytes | None]:
    """Whether a body comes, and the length that it says it has.

    The parser has refused a request with both headers; the order here holds even if it had not.
    """
    length = None
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return True, None
        if name == b"content-length":
            length = value
    return length not in (None, b"0"), length
