"""The one root of errors that callers see, and their one rendering: RFC 9457 problem documents."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from kpi_shared.telemetry.current_request import current_request

PROBLEM_MEDIA_TYPE = "application/problem+json"
_MAX_ERRORS = 20


class ProblemError(Exception):
    """The root: a subclass sits beside the code that raises it and says status, type and title.

    ``type`` is a stable slug that clients may compare with; ``detail`` is for people and may change.
    """

    status: ClassVar[int] = HTTPStatus.INTERNAL_SERVER_ERROR
    type: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The server failed"

    def __init__(
        self,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.headers = dict(headers or {})
        self.errors = errors
        # Extension members of the document (RFC 9457, section 3.2), for what another standard wants said by name.
        self.members: Mapping[str, str] = {}


class UnauthenticatedError(ProblemError):
    """No token, or none that counts. RFC 6750 section 3 wants the challenge."""

    status = HTTPStatus.UNAUTHORIZED
    type = "unauthenticated"
    title = "A valid access token is needed"

    def __init__(self, detail: str | None = None, *, invalid: bool = False) -> None:
        challenge = 'Bearer realm="kpi-one"' + (', error="invalid_token"' if invalid else "")
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class ForbiddenError(ProblemError):
    status = HTTPStatus.FORBIDDEN
    type = "forbidden"
    title = "You may not do this"


class UnavailableError(ProblemError):
    """Something that the answer needs is not there just now; trying again helps."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    type = "unavailable"
    title = "The service cannot answer just now"

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class InvalidRequestError(ProblemError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    type = "invalid-request"
    title = "The request is not valid"


class FieldError(BaseModel):
    """One thing that is wrong with a request: where (``in`` and a JSON pointer) and what."""

    pointer: str
    detail: str
    type: str


class Problem(BaseModel):
    """An RFC 9457 problem document. ``instance`` is the request id, by which the logs find it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldError] | None = None


def current_request_id() -> str:
    mark = current_request.get()
    return mark.request_id if mark is not None else ""


def problem_body(*, type: str, title: str, status: int, detail: str, **more: Any) -> bytes:  # noqa: A002, ANN401
    """The bytes of a problem document; ``more`` are extension members."""
    members = {"type": type, "title": title, "status": int(status), "detail": detail}
    return to_json(members | {"instance": current_request_id()} | more)


def problem_response(error: ProblemError) -> Response:
    more = {"errors": error.errors} if error.errors is not None else {}
    body = problem_body(
        type=error.type, title=error.title, status=error.status, detail=error.detail, **more, **error.members
    )
    return Response(body, error.status, error.headers, PROBLEM_MEDIA_TYPE)


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ProblemError, _render_problem)
    app.add_exception_handler(HTTPException, _render_http_exception)
    app.add_exception_handler(RequestValidationError, _render_validation_error)


async def _render_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 the handler is registered for this type alone
    return problem_response(error)


async def _render_http_exception(request: Request, error: Exception) -> Response:
    """The framework's own refusals (no such route, method not allowed, unreadable body)."""
    assert isinstance(error, HTTPException)  # noqa: S101 as above
    phrase = HTTPStatus(error.status_code).phrase
    body = problem_body(
        type=phrase.lower().replace(" ", "-"),
        title=phrase,
        status=error.status_code,
        detail=str(error.detail),
    )
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(request) or headers.get("Allow", "")
    return Response(body, error.status_code, headers, PROBLEM_MEDIA_TYPE)


def _allowed(request: Request) -> str:
    """All methods of the address (RFC 9110, 15.5.6): the framework names those of its first route only."""
    path = getattr(request.scope.get("route"), "path_format", None)
    return ", ".join(sorted(method.upper() for method in request.app.openapi()["paths"].get(path, {})))


async def _render_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 as above
    # A body may hold a hundred thousand mistakes, and nobody reads more than the first few.
    errors = [field_error(item) for item in error.errors()[:_MAX_ERRORS]]
    detail = "; ".join(f"{item['pointer']}: {item['detail']}" for item in errors[:3])
    return problem_response(InvalidRequestError(detail, errors=errors))


def field_error(item: Mapping[str, Any]) -> dict[str, str]:
    """One of pydantic's errors as ours; the rejected input is left out, since it may be a password."""
    pointer = "#/" + "/".join(_escaped(step) for step in item["loc"])
    detail = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] in {"too_short", "too_long"} and item.get("ctx", {}).get("field_type") == "Value":
        # What pydantic calls the items of a secret are its characters.
        detail = detail.replace("items", "characters").replace("item", "character").replace(" after validation", "")
    return {
        "pointer": pointer,
        "detail": detail,
        "type": str(item["type"]),
    }


def _escaped(step: object) -> str:
    # RFC 6901 section 3; a client may send a member whose name is not valid UTF-8.
    text = str(step).encode("utf-8", "replace").decode("utf-8")
    return text.replace("~", "~0").replace("/", "~1")
