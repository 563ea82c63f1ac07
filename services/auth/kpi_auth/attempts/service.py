"""Limits on attempts, shared by all replicas (ASVS 5.0, 6.3.1).

An attempt is counted before it is made, so that parallel attempts cannot exceed the limit; a successful one is
forgiven. Attempts are limited, never accounts: existing sessions continue.
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
    """Count an attempt under each limit; TooManyAttemptsError at the first limit that is reached.

    The count must hold whatever follows, so it is committed outside the caller's transaction. Limits before the one
    that is reached count the attempt, limits after it do not: with an address first and an account second, a blocked
    address cannot use up the account's attempts.
    """
    if not limits:
        # A client without an address, as on a Unix socket, has no limit by address.
        return Admission((), datetime.now(UTC))
    async with context.database.committing() as connection:
        added = await repository.add(connection, limits)
        return await check_added(context, connection, limits=limits, added=added)


async def check_added(
    context: Context, connection: AsyncConnection, *, limits: Sequence[Limit], added: Added
) -> Admission:
    """The admission, or TooManyAttemptsError where a limit was reached, which is recorded once per window."""
    if added.keys < len(limits):
        reached = limits[added.keys]
        if await repository.mark_reported(connection, reached):
            await record(context, connection, Event.THROTTLED, details={"limit": reached.kind})
        raise TooManyAttemptsError(seconds=await repository.seconds_to_wait(connection, reached))
    return Admission(tuple(limit.key for limit in limits), added.moment)


async def forgive(context: Context, admission: Admission) -> None:
    """Remove an attempt that did not fail from the counts."""
    if admission.keys:
        async with context.database.committing() as connection:
            await repository.remove(connection, keys=admission.keys, moment=admission.moment)
