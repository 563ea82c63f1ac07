"""The base class of all errors that clients see, and their rendering as RFC 9457 problem documents."""

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
    """The base class. A subclass is defined next to the code that raises it and sets status, type and title.

    ``type`` is a stable slug that clients may compare; ``detail`` is for people and may change.
    """

    status: ClassVar[int] = HTTPStatus.INTERNAL_SERVER_ERROR
    type: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal server error"

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
        # Extension members of the document (RFC 9457, section 3.2), where another standard requires them.
        self.members: Mapping[str, str] = {}


class UnauthenticatedError(ProblemError):
    """No token, or an invalid one. RFC 6750 section 3 requires the challenge."""

    status = HTTPStatus.UNAUTHORIZED
    type = "unauthenticated"
    title = "A valid access token is required"

    def __init__(self, detail: str | None = None, *, invalid: bool = False) -> None:
        challenge = 'Bearer realm="kpi-one"' + (', error="invalid_token"' if invalid else "")
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class ForbiddenError(ProblemError):
    status = HTTPStatus.FORBIDDEN
    type = "forbidden"
    title = "You are not allowed to do this"


# A member of ``openapi_extra``: this GET has effects, so it is not run for HEAD, which is safe (RFC 9110, 9.2.1).
HAS_EFFECTS = "x-has-effects"


class UnavailableError(ProblemError):
    """Something that the response needs is temporarily unavailable; a retry may succeed."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    type = "unavailable"
    title = "The service is temporarily unavailable"
    # Whether it says nothing about this replica, since every other one would respond the same. The gateway then neither
    # repeats the request at another address nor takes this one out of rotation.
    is_same_elsewhere: ClassVar[bool] = False
    # One of many, which metrics count: a log line for each would add to the overload.
    is_overload: ClassVar[bool] = False

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        mark = {"X-Retry-Elsewhere": "no"} if self.is_same_elsewhere else {}
        super().__init__(detail, headers={"Retry-After": str(retry_after), **mark})


class InvalidRequestError(ProblemError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    type = "invalid-request"
    title = "The request is not valid"


class FieldError(BaseModel):
    """One error in a request: its place (a JSON pointer), a description for people, and a stable type."""

    pointer: str
    detail: str
    type: str


class Problem(BaseModel):
    """An RFC 9457 problem document. ``instance`` is the request id, which is also in the logs."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldError] | None = None


def current_request_id() -> str:
    current = current_request.get()
    return current.request_id if current is not None else ""


def problem_body(*, type: str, title: str, status: int, detail: str, **more: Any) -> bytes:  # noqa: A002, ANN401
    """A problem document as JSON; ``more`` are extension members."""
    members = {"type": type, "title": title, "status": int(status), "detail": detail}
    return to_json(members | {"instance": current_request_id()} | more)


def problem_response(error: ProblemError, request: Request | None = None) -> Response:
    more = {"errors": error.errors} if error.errors is not None else {}
    members = {**_route_members(request, error.status, error.errors), **error.members}
    body = problem_body(type=error.type, title=error.title, status=error.status, detail=error.detail, **more, **members)
    return Response(body, error.status, error.headers, PROBLEM_MEDIA_TYPE)


def _route_members(
    request: Request | None, status: int, errors: Sequence[Mapping[str, str]] | None = None
) -> Mapping[str, Any]:
    """The extension members that all errors of a route have, if it has a method ``problem_members`` for them."""
    route = request.scope.get("route") if request is not None else None
    find = getattr(route, "problem_members", None)
    return find(status, errors) if find is not None else {}


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ProblemError, _render_problem)
    app.add_exception_handler(HTTPException, _render_http_exception)
    app.add_exception_handler(RequestValidationError, _render_validation_error)


async def _render_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 the handler is registered for this type only
    if isinstance(error, UnavailableError) and error.is_overload:
        request.scope["is_overload"] = True
    return problem_response(error, request)


async def _render_http_exception(request: Request, error: Exception) -> Response:
    """Errors of the framework: no such route, method not allowed, unreadable body."""
    assert isinstance(error, HTTPException)  # noqa: S101 as above
    phrase = HTTPStatus(error.status_code).phrase
    body = problem_body(
        type=phrase.lower().replace(" ", "-"),
        title=phrase,
        status=error.status_code,
        detail=str(error.detail),
        **_route_members(request, error.status_code),
    )
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed_methods(request) or headers.get("Allow", "")
        if request.method == "OPTIONS":
            # RFC 9110, 9.3.7: the question which methods there are, not a request with a wrong one.
            return Response(None, HTTPStatus.NO_CONTENT, headers)
    return Response(body, error.status_code, headers, PROBLEM_MEDIA_TYPE)


def _allowed_methods(request: Request) -> str:
    """All methods of the path (RFC 9110, 15.5.6): the framework lists only those of the first route."""
    path = getattr(request.scope.get("route"), "path_format", None)
    operations = request.app.openapi()["paths"].get(path, {})
    methods = {method.upper() for method in operations}
    if "get" in operations and not operations["get"].get(HAS_EFFECTS):
        methods.add("HEAD")
    return ", ".join(sorted(methods))


async def _render_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 as above
    # A body may contain a hundred thousand errors, of which only the first few are useful.
    errors = [field_error(item) for item in error.errors()[:_MAX_ERRORS]]
    detail = "; ".join(f"{item['pointer']}: {item['detail']}" for item in errors[:3])
    return problem_response(InvalidRequestError(detail, errors=errors), request)


def field_error(item: Mapping[str, Any]) -> dict[str, str]:
    """Convert an error of pydantic; the rejected input is left out, since it may be a password."""
    pointer = "#/" + "/".join(_escape(step) for step in item["loc"])
    detail = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] in {"too_short", "too_long"} and item.get("ctx", {}).get("field_type") == "Value":
        # For a secret, pydantic says items instead of characters.
        detail = detail.replace("items", "characters").replace("item", "character").replace(" after validation", "")
    return {
        "pointer": pointer,
        "detail": detail,
        "type": str(item["type"]),
    }


def _escape(step: object) -> str:
    # RFC 6901 section 3. The name of a member may be invalid UTF-8.
    text = str(step).encode("utf-8", "replace").decode("utf-8")
    return text.replace("~", "~0").replace("/", "~1")
