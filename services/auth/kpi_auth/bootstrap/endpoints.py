"""The first start of an installation."""

from fastapi import Depends, Response
from kpi_shared.database import Reader
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems

from kpi_auth.accounts import read_repository
from kpi_auth.accounts.errors import EmailTakenError, UsernameTakenError
from kpi_auth.bootstrap import service
from kpi_auth.bootstrap.errors import AlreadyBootstrappedError, InvalidBootstrapCodeError
from kpi_auth.bootstrap.schemas import Bootstrap, Bootstrapped, BootstrapState
from kpi_auth.context import CurrentContext
from kpi_auth.hashing.errors import HashingBusyError
from kpi_auth.responses import no_store

router = Router(tags=["users"], dependencies=[Depends(no_store)])


@router.get("/bootstrap")
async def get_bootstrap_state(connection: Reader) -> BootstrapState:
    """Whether the first admin is still to be made."""
    return BootstrapState(is_open=not await read_repository.is_any_admin(connection))


@router.post(
    "/bootstrap",
    status_code=201,
    responses=problems(
        *(AlreadyBootstrappedError, InvalidBootstrapCodeError),
        *(UsernameTakenError, EmailTakenError, HashingBusyError),
    ),
)
async def bootstrap(wanted: Bootstrap, context: CurrentContext, response: Response) -> Bootstrapped:
    """Make the first admin and an API key with all rights, and show both once.

    It works once, as long as there is no admin, with the code that auth writes to its log.
    """
    made = await service.bootstrap(context, wanted=wanted)
    response.headers["Location"] = f"/users/{made.row.id}"
    return service.bootstrapped(made, wanted)
