"""The downstream side of one exchange: what the client sends, and whether it is still there."""

import asyncio
from typing import Self

from starlette.types import Message, Receive, Scope

# Most answers are on their way before this, and for them nobody has to look out for the client.
_LOOK_OUT_AFTER_SECONDS = 0.1


class DownstreamGoneError(Exception):
    """The client closed its connection before it had its answer."""


class Downstream:
    """Reads the request's body, and ends the exchange's ``deadline`` early when the client goes away.

    ASGI tells of a client that left in the place of its next message, so somebody has to ask: the upload
    while there is one, and after it a task of its own.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._deadline: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lookout: asyncio.Task[None] | None = None
        self._first = b""
        self.length: str | None = None
        self.uploading = False
        self.gone = False

    async def body(self, scope: Scope) -> "bytes | Downstream | None":
        """None where there is no body, bytes where all of it has arrived, else this, to be iterated over."""
        comes, self.length = _framing(scope)
        if not comes:
            return None
        self.uploading = True
        message = await self._next()
        self._first = message["body"]
        self.uploading = message["more_body"]
        return self if self.uploading else self._first

    def watch(self, deadline: asyncio.Timeout) -> None:
        self._deadline = deadline
        self._timer = asyncio.get_running_loop().call_later(_LOOK_OUT_AFTER_SECONDS, self._begin_lookout)

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
            message = await self._next()
            self.uploading = message["more_body"]
            if message["body"]:
                return bytes(message["body"])
        self._begin_lookout()
        raise StopAsyncIteration

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._leave()
            raise DownstreamGoneError
        return message

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


def _framing(scope: Scope) -> tuple[bool, str | None]:
    """Whether a body comes, and the length that it says it has.

    The parser has refused a request with both headers; the order here holds even if it had not.
    """
    length = None
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return True, None
        if name == b"content-length":
            length = value.decode("ascii")
    return length not in (None, "0"), length
