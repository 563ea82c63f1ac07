"""The dependencies of the endpoints of users."""

from typing import Annotated

from fastapi import Depends, Path, Query
from kpi_shared.database import MAX_ID
from kpi_shared.integers import Decimal
from kpi_shared.security import WriteAccess

from kpi_auth.context import CurrentContext
from kpi_auth.users import service
from kpi_auth.users.etags import IfMatch
from kpi_auth.users.schemas import Deletion
from kpi_auth.users.service import UserRequest

UserId = Annotated[Decimal, Path(ge=1, le=MAX_ID)]
OfDeleted = Annotated[bool | None, Query(description="Look for a deleted user (admins only)")]


async def _user_request(user_id: UserId, caller: WriteAccess, if_match: IfMatch) -> UserRequest:
    return UserRequest(caller, user_id, if_match)


SentUserRequest = Annotated[UserRequest, Depends(_user_request)]


async def _confirm_deletion(
    request: SentUserRequest, context: CurrentContext, sent: Deletion | None = None
) -> str | None:
    """Runs before the endpoint takes a connection, because verifying a password takes a hash."""
    given = sent.password if sent is not None else None
    password = given.get_secret_value() if given is not None else None
    return await service.confirm_deletion(context, request=request, password=password)


ConfirmedHash = Annotated[str | None, Depends(_confirm_deletion)]
