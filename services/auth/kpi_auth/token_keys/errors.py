"""What is said while no token can be minted."""

from fastapi import FastAPI, Request
from kpi_shared.errors import UnavailableError, problem_response
from kpi_shared.tokens import NoActiveKeyError
from starlette.responses import Response


class MintingStoppedError(UnavailableError):
    """The active key was killed, and there is no next one: every replica is without."""

    type = "no-active-key"
    title = "No access token can be issued at the moment"
    is_same_elsewhere = True


def install_key_handlers(app: FastAPI) -> None:
    app.add_exception_handler(NoActiveKeyError, _handle_missing_key)


async def _handle_missing_key(_request: Request, _error: Exception) -> Response:
    return problem_response(MintingStoppedError())
