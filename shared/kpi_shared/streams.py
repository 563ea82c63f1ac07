"""Long responses, which end when their reader's token does: it was only checked when they began."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
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

    Where revocations are followed, an expiry is none: with ``least`` the block has so many seconds in any case, but not
    after the end of an API key. All in the task of the caller, since a thousand streams that wait would need two
    thousand tasks more.
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

    Clients then ask again, with a new token if they can get one. Endpoints with a response that lasts must use this
    class.
    """

    def __init__(self, request: Request, chunks: AsyncIterator[bytes], *, reader: Subject, **more: Any) -> None:  # noqa: ANN401 those of StreamingResponse
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
            async with while_permitted(self._revocations, self._reader):
                async for chunk in self._chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except AccessEndedError:
            await self._end_early(send)
        else:
            await send(_END)

    async def _end_early(self, send: Send) -> None:
        if (close := getattr(self._chunks, "aclose", None)) is not None:
            await close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await send(_END)
        except TimeoutError:
            raise ClientDisconnect from None
