"""Limits on how often something may be tried, which hold for all replicas together (ASVS 5.0, 6.3.1).

An attempt counts from before it is made, so that a hundred at once are no more than one after the other; one that turns
out well is taken back. What is limited is an attempt, never an account: who has a session keeps it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.attempts import repository
from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.attempts.models import Added, Admission, Limit
from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record
from kpi_auth.context import Context


async def admit(context: Context, *limits: Limit) -> Admission:
    """Count an attempt under each limit, or TooManyAttemptsError by the first that is reached.

    It counts from now on and whatever becomes of it, so it is in no transaction of the caller's. Limits before the one
    that is reached keep the attempt, and those after it never see it: with an address first and an account second, an
    address that is shut out cannot use up the account's attempts.
    """
    if not limits:
        # A client with no address, as on a Unix socket, is not limited by it.
        return Admission((), datetime.now(UTC))
    async with context.database.committing() as connection:
        added = await repository.add(connection, limits)
        return await check_added(context, connection, limits=limits, added=added)


async def check_added(
    context: Context, connection: AsyncConnection, *, limits: Sequence[Limit], added: Added
) -> Admission:
    """What came of counting: TooManyAttemptsError where one of the limits had no room left, recorded once a window."""
    if added.keys < len(limits):
        reached = limits[added.keys]
        if await repository.mark_reported(connection, reached):
            await record(context, connection, Event.THROTTLED, details={"limit": reached.kind})
        raise TooManyAttemptsError(seconds=await repository.seconds_to_wait(connection, reached))
    return Admission(tuple(limit.key for limit in limits), added.moment)


async def forgive(context: Context, admission: Admission) -> None:
    """Take the attempt back: it was no failure."""
    if admission.keys:
        async with context.database.committing() as connection:
            await repository.remove(connection, keys=admission.keys, moment=admission.moment)
