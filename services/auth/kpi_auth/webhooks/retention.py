"""Which events webhooks still need."""

from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.webhooks import delivery_repository as deliveries
from kpi_auth.webhooks import repository


async def find_least_needed(connection: AsyncConnection) -> int | None:
    """The oldest event that an active webhook may still have to get; None if no webhook is active.

    Read in this order: what is queued in between stays needed.
    """
    queued = await repository.find_least_queued(connection)
    pending = await deliveries.find_least_pending(connection)
    places = [seq for seq in (queued + 1 if queued is not None else None, pending) if seq is not None]
    return min(places, default=None)
