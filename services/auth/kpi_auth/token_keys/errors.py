"""What is said while no token can be minted, and to reports of keys that are refused."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from kpi_shared.errors import ForbiddenError, ProblemError, UnavailableError, problem_response
from kpi_shared.tokens import NoActiveKeyError
from starlette.responses import Response


class MintingStoppedError(UnavailableError):
    """The active key was killed, and there is no next one: every replica is without."""

    type = "no-active-key"
    title = "No access token can be issued at the moment"
    is_same_elsewhere = True


class ForeignPartError(ForbiddenError):
    """A key that is stolen from one part says nothing about another one's processes."""

    type = "part-of-another-key"
    title = "This key is for the reports of another part"


class InstanceTakenError(ProblemError):
    status = HTTPStatus.CONFLICT
    type = "instance-taken"
    title = "A process of another part has this name"


class TooManyInstancesError(ProblemError):
    status = HTTPStatus.CONFLICT
    type = "too-many-instances"
    title = "Too many processes of this part report their keys"


def install_key_handlers(app: FastAPI) -> None:
    app.add_exception_handler(NoActiveKeyError, _handle_missing_key)


async def _handle_missing_key(_request: Request, _error: Exception) -> Response:
    return problem_response(MintingStoppedError())
