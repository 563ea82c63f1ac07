"""Store what came of an attempt, in one transaction."""

from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record
from kpi_auth.context import Context
from kpi_auth.webhooks import delivery_repository as deliveries
from kpi_auth.webhooks import repository
from kpi_auth.webhooks.fields import Outcome
from kpi_auth.webhooks.models import AttemptResult, LeasedDelivery


async def settle(
    context: Context,
    connection: AsyncConnection,
    delivery: LeasedDelivery,
    result: AttemptResult,
    *,
    delay: float,
    most_dead: int,
) -> bool:
    """False if the delivery has passed to another worker, or is gone: then nothing changes."""
    match result.outcome:
        case Outcome.DELIVERED:
            return await _store_success(connection, delivery)
        case Outcome.DEAD:
            return await _store_death(context, connection, delivery, error=result.error, most_dead=most_dead)
        case Outcome.REFUSED:
            return await _store_refusal(context, connection, delivery, error=result.error, delay=delay)
    return await deliveries.postpone(connection, delivery, error=result.error, delay=delay)


async def _store_success(connection: AsyncConnection, delivery: LeasedDelivery) -> bool:
    await repository.lock(connection, webhook_id=delivery.webhook_id)
    held = await deliveries.remove(connection, delivery)
    if held:
        await repository.note_success(connection, webhook_id=delivery.webhook_id)
    return held


async def _store_death(
    context: Context, connection: AsyncConnection, delivery: LeasedDelivery, *, error: str, most_dead: int
) -> bool:
    await repository.lock(connection, webhook_id=delivery.webhook_id)
    if not await deliveries.bury(connection, delivery, error=error):
        return False
    dead = await repository.note_dead(connection, webhook_id=delivery.webhook_id)
    if dead >= most_dead:
        await _disable(context, connection, delivery, reason=f"{dead} events in a row were given up; the last: {error}")
    return True


async def _store_refusal(
    context: Context, connection: AsyncConnection, delivery: LeasedDelivery, *, error: str, delay: float
) -> bool:
    """The event stays, so that it is the first one if an admin starts the webhook again."""
    await repository.lock(connection, webhook_id=delivery.webhook_id)
    held = await deliveries.postpone(connection, delivery, error=error, delay=delay)
    if held:
        await _disable(context, connection, delivery, reason=error)
    return held


async def _disable(context: Context, connection: AsyncConnection, delivery: LeasedDelivery, *, reason: str) -> None:
    webhook_id = delivery.webhook_id
    if await repository.disable(connection, webhook_id=webhook_id, reason=reason):
        details = {"webhook_id": webhook_id, "reason": reason}
        await record(context, connection, Event.WEBHOOK_DISABLED, details=details)
