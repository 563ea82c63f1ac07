"""Registration."""

from fastapi import Depends, Response
from fastapi.responses import JSONResponse
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import ANONYMOUS, Responses, problems
from kpi_shared.security import OptionalWriteAccess

from kpi_auth.accounts.errors import EmailTakenError, RegistrationClosedError, UsernameTakenError
from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.context import CurrentContext
from kpi_auth.hashing.errors import HashingBusyError
from kpi_auth.registrations import service
from kpi_auth.registrations.responses import make_registered_user
from kpi_auth.registrations.schemas import RegisteredUser, Registration
from kpi_auth.responses import ACCEPTED, Accepted, no_store
from kpi_auth.users.errors import FieldNotYoursError

router = Router(dependencies=[Depends(no_store)])

_RESPONSES: Responses = {
    202: {
        "model": Accepted,
        "description": "If the settings do not disclose taken usernames: the outcome is sent by e-mail",
    },
    **problems(UnauthenticatedError, RegistrationClosedError, FieldNotYoursError),
    **problems(UsernameTakenError, EmailTakenError, TooManyAttemptsError, HashingBusyError),
}


@router.post(
    "/auth/register",
    status_code=201,
    response_model=RegisteredUser,
    responses=_RESPONSES,
    tags=["auth"],
    name="register",
    openapi_extra=ANONYMOUS,
)
@router.post(
    "/users", status_code=201, response_model=RegisteredUser, responses=_RESPONSES, tags=["users"], name="create_user"
)
async def register(
    user: Registration, caller: OptionalWriteAccess, context: CurrentContext, response: Response
) -> RegisteredUser | Response:
    """Register with a username, an e-mail address and a password.

    `message` in the response states whether the e-mail address must be confirmed before it can be used to sign in.
    Only an admin may set another role or state than the defaults.
    """
    row = await service.register(context, user=user, caller=caller)
    if row is None:
        return JSONResponse(ACCEPTED.model_dump(), 202, {"Cache-Control": "no-store"})
    response.headers["Location"] = f"/users/{row.id}"
    return make_registered_user(context, row)
