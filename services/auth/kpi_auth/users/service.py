"""What becomes of a registration."""

from kpi_shared.database import AnyRow
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.users import repository
from kpi_auth.users.errors import EmailTakenError, UsernameTakenError
from kpi_auth.users.schemas import NewUser


async def register(connection: AsyncConnection, *, user: NewUser) -> AnyRow:
    """Add the user, or UsernameTakenError or EmailTakenError."""
    added = await repository.add(connection, user=user)
    if added is not None:
        return added
    taken = await repository.username_is_taken(connection, username=user.username)
    raise UsernameTakenError if taken else EmailTakenError
