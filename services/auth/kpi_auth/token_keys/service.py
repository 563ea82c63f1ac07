"""Who holds which keys of the tokens, and the end of a key that others may know."""

from typing import Any

from kpi_shared.token_keys.reports import Holding
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record
from kpi_auth.context import Context
from kpi_auth.events import repository as events
from kpi_auth.events.models import EventType
from kpi_auth.events.payloads import KeyKilled
from kpi_auth.token_keys import repository
from kpi_auth.token_keys.errors import ForeignPartError, InstanceTakenError, TooManyInstancesError

# A key that is stolen cannot fill the table, nor keep the processes of one part out by those of others.
_MOST_INSTANCES = 100
_MOST_FOLLOWERS = 20
# Who may have a key of the internal port: the gateway, and the services that follow the feed, which share one.
GATEWAY, FOLLOWERS = "gateway", "followers"
# These do not report by the followers' key.
_NO_FOLLOWERS = {"auth", GATEWAY}


async def report_by_peer(connection: AsyncConnection, *, peer: str, holding: Holding) -> list[str]:
    """``report`` for a process of the gateway or of a follower, which has proved that it is one."""
    is_own = holding.part not in _NO_FOLLOWERS if peer == FOLLOWERS else holding.part == peer
    if not is_own:
        raise ForeignPartError
    others = await repository.count_others(connection, holding)
    if others.instances >= _MOST_INSTANCES or (peer == FOLLOWERS and others.followers >= _MOST_FOLLOWERS):
        raise TooManyInstancesError
    return await report(connection, holding=holding)


async def report(connection: AsyncConnection, *, holding: Holding, token_seconds: int | None = None) -> list[str]:
    """Store what a process holds; returns the ids of all keys that it must not accept any more."""
    if not await repository.put(connection, holding, token_seconds=token_seconds):
        raise InstanceTakenError
    return await events.get_killed_keys(connection)


async def list_holders(context: Context) -> list[dict[str, Any]]:
    """The processes that have reported lately, with the states of their keys."""
    async with context.database.reading() as connection:
        return await repository.get_all(connection)


async def find_longest_life(context: Context) -> int | None:
    """How many seconds the tokens of the processes that mint live; None if none of these reports."""
    async with context.database.reading() as connection:
        return await repository.get_longest_life(connection)


async def list_killed(context: Context) -> list[str]:
    """The ids of all keys that were ever killed."""
    async with context.database.reading() as connection:
        return await events.get_killed_keys(connection)


async def kill(context: Context, *, kid: str) -> bool:
    """Let every process refuse the key for ever; False if it has been killed before."""
    async with context.database.writing() as connection:
        if kid in await events.get_killed_keys(connection):
            return False
        await events.put(connection, EventType.KEY_KILLED, KeyKilled(kid=kid))
        await record(context, connection, Event.TOKEN_KEY_KILLED, details={"kid": kid})
    return True
