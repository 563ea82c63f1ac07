"""Registration."""

from fastapi import Depends, Response
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import ANONYMOUS, Responses, problems
from kpi_shared.idempotency import IDEMPOTENCY_KEY, RETRY_ERRORS, Once, owner_of
from kpi_shared.security import OptionalWriteAccess

from kpi_auth.accounts.errors import EmailTakenError, RegistrationClosedError, UsernameTakenError
from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.context import CurrentContext
from kpi_auth.hashing.errors import HashingBusyError
from kpi_auth.registrations import service
from kpi_auth.registrations.responses import registered_response
from kpi_auth.registrations.schemas import RegisteredUser, Registration
from kpi_auth.responses import Accepted, no_store
from kpi_auth.users.errors import FieldNotYoursError

router = Router(dependencies=[Depends(no_store)])

_RESPONSES: Responses = {
    202: {
        "model": Accepted,
        "description": "If the settings do not disclose taken usernames: the outcome is sent by e-mail",
    },
    **problems(UnauthenticatedError, RegistrationClosedError, FieldNotYoursError),
    **problems(UsernameTakenError, EmailTakenError, TooManyAttemptsError, HashingBusyError, *RETRY_ERRORS),
}


@router.post(
    "/auth/register",
    status_code=201,
    response_model=RegisteredUser,
    responses=_RESPONSES,
    tags=["auth"],
    name="register",
    openapi_extra=ANONYMOUS | IDEMPOTENCY_KEY,
)
@router.post(
    "/users",
    status_code=201,
    response_model=RegisteredUser,
    responses=_RESPONSES,
    tags=["users"],
    name="create_user",
    openapi_extra=IDEMPOTENCY_KEY,
)
async def register(user: Registration, caller: OptionalWriteAccess, context: CurrentContext, once: Once) -> Response:
    """Register with a username, an e-mail address and a password.

    `message` in the response states whether the e-mail address must be confirmed before it can be used to sign in.
    Only an admin may set another role or state than the defaults.
    """
    owner = owner_of(caller, context.origin.address)
    # A retry is not hashed and not counted.
    await once.look_up(owner)
    async with service.admit_user(context, user=user, caller=caller) as new, once.writing(owner) as connection:
        row = await service.add(context, connection, new=new)
        return await once.keep(registered_response(context, row))
