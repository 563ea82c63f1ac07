"""Long responses, which end when their reader's token does: it was only checked when they began."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Send

from kpi_shared.caller import Subject
from kpi_shared.revocations import Revocations

# How long a reader who takes nothing delays the regular end; the connection is then closed without it.
_END_SECONDS = 0.5
_END: Message = {"type": "http.response.body", "body": b"", "more_body": False}


class ReaderStream(StreamingResponse):
    """Streams ``chunks`` to a reader until they end, the reader is revoked, or the reader's token expires.

    Clients then ask again, with a new token if they can get one. No endpoint has such a response yet: those that will
    have one must use this class.
    """

    def __init__(self, request: Request, chunks: AsyncIterator[bytes], *, reader: Subject, **more: Any) -> None:  # noqa: ANN401 those of StreamingResponse
        super().__init__(chunks, **more)
        self._chunks = chunks
        self._reader = reader
        self._revocations: Revocations | None = request.app.state.revocations

    async def stream_response(self, send: Send) -> None:
        if self._revocations is None:
            await super().stream_response(send)
            return
        sending = asyncio.create_task(super().stream_response(send))
        ending = asyncio.create_task(self._revocations.wait(self._reader))
        try:
            await asyncio.wait({sending, ending}, return_when=asyncio.FIRST_COMPLETED)
            is_complete = sending.done()
        finally:
            await _stop(ending, sending)
        if is_complete:
            sending.result()
            return
        if (close := getattr(self._chunks, "aclose", None)) is not None:
            await close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await send(_END)
        except TimeoutError:
            raise ClientDisconnect from None


async def _stop(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
