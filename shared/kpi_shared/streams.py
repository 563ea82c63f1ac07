"""Long responses, which end when their reader's token does: it was only checked when they began."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from kpi_shared.caller import Subject
from kpi_shared.revocations import Revocations

# How long a reader who takes nothing delays the regular end; the connection is then closed without it.
_END_SECONDS = 0.5
_END: Message = {"type": "http.response.body", "body": b"", "more_body": False}


class AccessEndedError(Exception):
    """A token was revoked, or else has expired, while its bearer was served."""

    def __init__(self, *, is_revoked: bool) -> None:
        super().__init__()
        self.is_revoked = is_revoked


@asynccontextmanager
async def while_permitted(
    revocations: Revocations | None, subject: Subject, *, least: float = 0.0
) -> AsyncIterator[None]:
    """Cancel the block, and raise AccessEndedError, when the subject is revoked or its token expires.

    With ``least`` the block has at least so many seconds where revocations are followed, even if the token expires
    before, but none after the end of its API key. All in the task of the caller, since a thousand streams that wait
    would need two thousand tasks more.
    """
    limit = asyncio.timeout(_seconds_of(subject, least=0.0 if revocations is None else least))
    is_revoked = False

    def end() -> None:
        nonlocal is_revoked
        is_revoked = True
        if not limit.expired():
            limit.reschedule(0)

    try:
        async with limit:
            with nullcontext() if revocations is None else revocations.watching(subject, end):
                yield
    except TimeoutError:
        if limit.expired():
            raise AccessEndedError(is_revoked=is_revoked) from None
        raise


def _seconds_of(subject: Subject, *, least: float) -> float:
    now = datetime.now(UTC)
    seconds = max((subject.expires_at - now).total_seconds(), least)
    end = subject.api_key_ends_at
    return seconds if end is None else min(seconds, (end - now).total_seconds())


class ReaderStream(StreamingResponse):
    """Streams ``chunks`` to a reader until they end, the reader is revoked, or the reader's token expires.

    Clients then ask again, with a new token if they can get one. However it ends, the generator is closed at once.
    Endpoints with a response that lasts must use this class.
    """

    def __init__(self, request: Request, chunks: AsyncGenerator[bytes, None], *, reader: Subject, **more: Any) -> None:  # noqa: ANN401 those of StreamingResponse
        super().__init__(chunks, **more)
        self._chunks = chunks
        self._reader = reader
        self._revocations: Revocations | None = request.app.state.revocations

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Without Starlette's task that waits for the client to leave: our server cancels this one then."""
        await self.stream_response(send)

    async def stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with aclosing(self._chunks), while_permitted(self._revocations, self._reader):
                async for chunk in self._chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except AccessEndedError:
            await _end_early(send)
        else:
            await send(_END)


async def _end_early(send: Send) -> None:
    try:
        async with asyncio.timeout(_END_SECONDS):
            await send(_END)
    except TimeoutError:
        raise ClientDisconnect from None
