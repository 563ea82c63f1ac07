"""The accounts that posts and conversations belong to.

Content copies them from auth's events. Where there are none yet, because the stack is stopped or auth has none, these
are made up, with ids that auth does not reach.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.authors import repository

_FIRST_ID = 10**15
_MOST = 100


async def seed(connection: AsyncConnection, *, count: int) -> int:
    if await repository.count(connection):
        return 0
    usernames = {_FIRST_ID + number: f"seed_author_{number}" for number in range(1, min(count, _MOST) + 1)}
    await repository.remember_all(connection, usernames=usernames)
    return len(usernames)
