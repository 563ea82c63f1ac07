"""The client's side of a forwarded request: its body, whether the client is still connected, and the total timeout."""

import asyncio
import re
from math import inf
from typing import Self

from kpi_shared.deadlines import OWN_PACE
from kpi_shared.errors import ProblemError
from kpi_shared.http.middleware import BodyTooLargeError
from starlette.types import Receive, Scope

from kpi_gateway.upstream.streams import EVENT_STREAM, media_type_of

# A body of up to this size is received before the upstream is involved: a client that sends it slowly then occupies
# its own connection and nothing else.
_SPOOLED_BYTES = 128 * 1024
# Most responses have begun before this, and for them nothing has to watch for a disconnect.
_WATCH_AFTER_SECONDS = 0.1
_TICK_SECONDS = 0.05
# A request with both of these asks that its body be read while it is written.
_STREAM_QUERY = re.compile(rb"(?:^|&)stream=true(?:&|$)")
STREAM_TYPES = frozenset({EVENT_STREAM, b"application/x-ndjson"})


class DownstreamGoneError(Exception):
    """The client closed its connection before it had its response."""


class SlowUploadError(ProblemError):
    status = 408
    type = "slow-upload"
    title = "The request body did not arrive in time"


class Downstream:
    """Reads the request's body, and cancels the request when the client disconnects or the total timeout is over.

    ASGI reports a disconnect only in place of the next message, so something has to receive: the upload while there is
    one, and after it a task of its own, which few requests live long enough to need.
    """

    __slots__ = (
        "_began",
        "_ends",
        "_first",
        "_is_late",
        "_limit",
        "_receive",
        "_taken",
        "_task",
        "_watcher",
        "is_cancelled",
        "is_gone",
        "is_stream",
        "is_uploading",
        "length",
    )

    def __init__(self, receive: Receive, *, limit: int, seconds: float) -> None:
        """``limit`` is the maximum size of the request's body in bytes, ``seconds`` the total timeout."""
        self._receive = receive
        self._limit = limit
        self._task = asyncio.current_task()
        self._began = asyncio.get_running_loop().time()
        self._ends = self._began + seconds
        self._is_late = False
        self._watcher: asyncio.Task[None] | None = None
        self._taken = 0
        self._first = b""
        self.length: bytes | None = None
        self.is_uploading = False
        # Whether the request or its response is a stream, which has no total timeout.
        self.is_stream = False
        # Whether the client has disconnected, and whether the request was cancelled for that or for its timeout.
        self.is_gone = False
        self.is_cancelled = False

    async def body(self, scope: Scope) -> "bytes | Downstream | None":
        """None if there is no body, bytes if all of it has arrived, else this object, to be iterated over.

        Raises BodyTooLargeError, here if that is known already, or during the iteration.
        """
        if not self._begin_body(scope):
            return None
        pieces = []
        while self.is_uploading and self._taken <= _SPOOLED_BYTES:
            pieces.append(await self._receive_piece())
        self._first = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._is_late:
            self._start_watcher()
        return self if self.is_uploading else self._first

    def _begin_body(self, scope: Scope) -> bool:
        """Whether there is a body; BodyTooLargeError if its stated length is over the limit."""
        has_body, self.length = _framing(scope)
        if self.length is not None and int(self.length[:20]) > self._limit:
            raise self._too_large()
        self.is_uploading = has_body
        return has_body

    def check(self, now: float) -> None:
        """Called at regular intervals while the request is in progress."""
        if now >= self._ends:
            self._cancel()
        elif not self._is_late and now - self._began >= _WATCH_AFTER_SECONDS:
            self._is_late = True
            self._start_watcher()

    def become_stream(self) -> None:
        """The response is a stream: there is no more to check but whether the client disconnects."""
        self.is_stream = True
        self._ends = inf
        self._is_late = True
        self._start_watcher()

    def _cancel(self) -> None:
        if not self.is_cancelled and self._task is not None:
            self.is_cancelled = True
            self._task.cancel()

    def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        while self.is_uploading:
            if piece := await self._receive_piece():
                return piece
        self._start_watcher()
        raise StopAsyncIteration

    async def _receive_piece(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.is_gone = True
            raise DownstreamGoneError
        self.is_uploading = message["more_body"]
        piece = bytes(message["body"])
        self._taken += len(piece)
        if self._taken > self._limit:
            raise self._too_large()
        return piece

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"At most {self._limit} bytes are accepted")

    def _start_watcher(self) -> None:
        if not self.is_uploading and self._watcher is None:
            self._watcher = asyncio.create_task(self._watch_for_disconnect())

    async def _watch_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_gone = True
        self._cancel()


class StreamedUpload(Downstream):
    """A body that is passed on as it arrives, for as long as it does, however slowly."""

    __slots__ = ("_silence", "_waits_since")

    def __init__(self, receive: Receive, *, limit: int, silence: float) -> None:
        """``silence`` is the longest pause within the body, in seconds."""
        super().__init__(receive, limit=limit, seconds=inf)
        self.is_stream = True
        self._silence = silence
        # While it waits for the client, and not for the upstream to read.
        self._waits_since = inf

    async def body(self, scope: Scope) -> "bytes | Downstream | None":
        self._begin_body(scope)
        scope[OWN_PACE] = True
        return self

    def check(self, now: float) -> None:
        if now - self._waits_since > self._silence:
            self._cancel()

    async def _receive_piece(self) -> bytes:
        self._waits_since = asyncio.get_running_loop().time()
        piece = await super()._receive_piece()
        self._waits_since = inf
        return piece


def is_streamed_upload(scope: Scope) -> bool:
    """Whether a request has a body, and says that it is to be read while it is written."""
    if not _STREAM_QUERY.search(scope["query_string"]) or media_type_of(scope["headers"]) not in STREAM_TYPES:
        return False
    return _framing(scope)[0]


class Ticker:
    """Checks all requests in progress several times a second: a timer for each would cost more than most need."""

    def __init__(self) -> None:
        self._downstreams: set[Downstream] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, downstream: Downstream) -> None:
        self._downstreams.add(downstream)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def release(self, downstream: Downstream) -> None:
        """Check it no longer: a stream, of which there may be many."""
        self._downstreams.discard(downstream)

    def remove(self, downstream: Downstream) -> None:
        self._downstreams.discard(downstream)
        downstream.stop()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for downstream in self._downstreams:
            downstream.check(now)
        self._timer = loop.call_later(_TICK_SECONDS, self._tick) if self._downstreams else None


def _framing(scope: Scope) -> tuple[bool, bytes | None]:
    """Whether there is a body, and its length if the request states it.

    The parser has refused a request with both header fields; the order here is safe even if it had not.
    """
    length = None
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return True, None
        if name == b"content-length":
            length = value
    return length not in (None, b"0"), length
