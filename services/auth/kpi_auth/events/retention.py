"""Delete events by age."""

from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.events import repository

# Returns the place of the first event that a reader still needs, or None if it needs none that exists.
FindNeeded = Callable[[AsyncConnection], Awaitable[int | None]]


async def forget_old(
    connection: AsyncConnection, *, most: int, kept: timedelta, readers: Collection[FindNeeded] = ()
) -> int:
    """Delete old events that none of ``readers`` needs.

    Those of the feed are not among these: one that comes too late starts again from the whole state.
    """
    needed = [place for find in readers if (place := await find(connection)) is not None]
    return await repository.forget_old(connection, kept=kept, needed=min(needed, default=None), most=most)
