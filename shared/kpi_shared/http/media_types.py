"""The media types that a route accepts, from its own declaration: any other request body is a 415.

FastAPI reads a body of another type as bytes, of which the validation says that they are no object, and ignores
Content-Encoding. Starlette decodes a form as Latin-1 where it is not percent-encoded.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive

from kpi_shared.errors import HAS_EFFECTS, ProblemError
from kpi_shared.http.middleware import IS_HEAD

FORM = "application/x-www-form-urlencoded"
# A member of ``requestBody``: media types that the route accepts in addition to the ones that it describes.
ALSO_ACCEPTED = "x-also-accepted"
# A member of a media type in ``requestBody``: the query with which another route of the same path and method takes it.
ONLY_WITH_QUERY = "x-only-with-query"
# A media type of ``requestBody``: any.
_ANY = "*/*"
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})
_HINTS = {"POST": "Accept-Post", "PATCH": "Accept-Patch"}
_not_ascii = re.compile(rb"[\x80-\xff]").sub

Handler = Callable[[Request], Awaitable[Response]]


class UnsupportedMediaTypeError(ProblemError):
    """RFC 9110, section 15.5.16: the response says what is accepted."""

    status = 415
    type = "unsupported-media-type"
    title = "The body has a media type or a content coding that is not supported"


class MediaTypeRoute(APIRoute):
    """A route that accepts only the media types it declares: those of its body, or of ``openapi_extra``.

    If it is a GET with effects, which ``openapi_extra`` also says, it is not run for HEAD.
    """

    def get_route_handler(self) -> Callable[[Request], Any]:
        handler = super().get_route_handler()
        if (self.openapi_extra or {}).get(HAS_EFFECTS):
            handler = partial(_refuse_head, handler)
        accepted = _declared(self)
        return partial(_check, handler, accepted) if accepted else handler


# As fastapi.APIRouter; every router of a service is one of these.
Router = partial(APIRouter, route_class=MediaTypeRoute)


async def _refuse_head(handler: Handler, request: Request) -> Response:
    if request.scope.get(IS_HEAD):
        raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)
    return await handler(request)


def _declared(route: APIRoute) -> frozenset[str]:
    body: dict[str, Any] = (route.openapi_extra or {}).get("requestBody", {})
    extra = {*accepted_types(body), *body.get(ALSO_ACCEPTED, ())}
    if route.body_field is None:
        return frozenset(extra)
    return frozenset({*extra, getattr(route.body_field.field_info, "media_type", "application/json")})


def accepted_types(body: Mapping[str, Any]) -> list[str]:
    """The media types that a ``requestBody`` describes, without those of another route."""
    return [name for name, described in body.get("content", {}).items() if ONLY_WITH_QUERY not in described]


async def _check(handler: Handler, accepted: frozenset[str], request: Request) -> Response:
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        # There is no body. Whether one is required is for the validation to say.
        return await handler(request)
    if headers.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
        # Section 12.5.3: only with Accept-Encoding does the client know that the coding is the reason.
        raise UnsupportedMediaTypeError("Content-Encoding must be identity", headers={"Accept-Encoding": "identity"})
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    media_type = media_type.strip().lower()
    if _ANY in accepted:
        return await handler(request)
    if media_type not in accepted or not _is_utf8(parameters) or len(headers.getlist("content-type")) > 1:
        raise _unsupported(request.method, accepted)
    if media_type == FORM:
        # WHATWG URL, 5.1: the bytes of a form are UTF-8, percent-encoded or not.
        request = Request(request.scope, partial(_receive_encoded, request.receive), request._send)  # noqa: SLF001 it has no other access
    return await handler(request)


def _is_utf8(parameters: str) -> bool:
    """RFC 8259, section 8.1, and WHATWG URL, 5.1: JSON and forms are UTF-8, and the parameter changes nothing."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in _CHARSETS:
            return False
    return True


def _unsupported(method: str, accepted: frozenset[str]) -> UnsupportedMediaTypeError:
    names = ", ".join(sorted(accepted))
    headers = {"Accept": names} | ({_HINTS[method]: names} if method in _HINTS else {})
    return UnsupportedMediaTypeError(f"The body must be {' or '.join(sorted(accepted))} in UTF-8", headers=headers)


async def _receive_encoded(receive: Receive) -> Message:
    message = await receive()
    body = message.get("body", b"")
    if not body.isascii():
        message["body"] = _not_ascii(lambda match: b"%%%02X" % match[0][0], body)
    return message
