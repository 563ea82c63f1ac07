"""What the endpoints of posts take from the application."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from kpi_shared.tokens import KeyRing

from kpi_content.posts.cursors import CursorCodec


async def cursor_codec(app: FastAPI) -> AsyncIterator[None]:
    app.state.cursors = CursorCodec(KeyRing.of(app.state.settings))
    yield


async def _cursors(request: Request) -> CursorCodec:
    codec: CursorCodec = request.app.state.cursors
    return codec


Cursors = Annotated[CursorCodec, Depends(_cursors)]
