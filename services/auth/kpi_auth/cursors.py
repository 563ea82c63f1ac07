"""The cursors of this service's lists."""

from typing import Annotated

from fastapi import Depends, Request
from kpi_shared.cursors import CursorSealer


async def _cursors(request: Request) -> CursorSealer:
    sealer: CursorSealer = request.app.state.cursors
    return sealer


Cursors = Annotated[CursorSealer, Depends(_cursors)]
