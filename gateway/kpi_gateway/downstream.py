"""The downstream side of one exchange: what the client sends, and whether it is still there."""

import asyncio
from typing import Self

from kpi_shared.middleware import BodyTooLargeError
from starlette.types import Receive, Scope

# A body of up to so many bytes is waited for before the upstream is troubled: a client that sends slowly then holds
# a connection of its own and nothing else.
_SPOOLED_BYTES = 128 * 1024
# Most answers are on their way before this, and for them nobody has to look out for the client.
_LOOK_OUT_AFTER_SECONDS = 0.1


class DownstreamGoneError(Exception):
    """The client closed its connection before it had its answer."""


class Downstream:
    """Reads the request's body, and ends the exchange's ``deadline`` early when the client goes away.

    ASGI tells of a client that left in the place of its next message, so somebody has to ask: the upload
    while there is one, and after it a task of its own.
    """

    def __init__(self, receive: Receive, *, limit: int) -> None:
        """``limit`` is how many bytes the request's body may have."""
        self._receive = receive
        self._limit = limit
        self._taken = 0
        self._deadline: asyncio.Timeout | None = None
        self._ends_at = 0.0
        self._is_late = False
        self._timer: asyncio.TimerHandle | None = None
        self._lookout: asyncio.Task[None] | None = None
        self._first = b""
        self.length: bytes | None = None
        self.uploading = False
        self.gone = False

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

    def watch(self, deadline: asyncio.Timeout, seconds: float) -> None:
        """Let the exchange end in ``seconds``; the deadline is set only for those few that take some time."""
        loop = asyncio.get_running_loop()
        self._deadline = deadline
        self._ends_at = loop.time() + seconds
        self._timer = loop.call_later(min(seconds, _LOOK_OUT_AFTER_SECONDS), self._late)

    def _late(self) -> None:
        self._is_late = True
        if self._deadline is not None:
            self._deadline.reschedule(self._ends_at)
        self._begin_lookout()

    def stop(self) -> None:
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
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
            self._leave()
            raise DownstreamGoneError
        self.uploading = message["more_body"]
        piece = bytes(message["body"])
        self._taken += len(piece)
        if self._taken > self._limit:
            raise self._too_large()
        return piece

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"At most {self._limit} bytes are taken")

    def _leave(self) -> None:
        self.gone = True
        if self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time())

    def _begin_lookout(self) -> None:
        if not self.uploading and self._lookout is None and self._deadline is not None:
            self._lookout = asyncio.create_task(self._look_out())

    async def _look_out(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()


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
