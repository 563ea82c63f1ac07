"""Which events must not be deleted yet."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.outlets import repository


async def find_needed(connection: AsyncConnection, *, kept: timedelta) -> int | None:
    """The first place whose event an outlet still needs; None if there is none.

    An outlet that has delivered nothing for ``kept`` needs none, so that it cannot fill the database.
    """
    least = await repository.get_least_needed(connection, kept=kept)
    return None if least is None else least + 1
