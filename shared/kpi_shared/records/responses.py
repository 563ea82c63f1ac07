"""Rows as the bytes of a response body. FastAPI would validate each, and build objects from it before it encodes it."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from pydantic_core import to_json

from kpi_shared.http.conditional import Condition, etag_of, json_response
from kpi_shared.paging import Page

# A row by the names of its noun's public fields, in their order.
RecordRow = dict[str, Any]

# Every read is revalidated, which costs the client no body where nothing has changed. A request with a token may see
# more, so its response is private, and a response that is cached for others must not be used for it.
_SHARED = {"Cache-Control": "no-cache", "Vary": "Authorization"}
_PRIVATE = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}


def make_account(user_id: int, username: str | None) -> dict[str, Any]:
    """An account as rows show it. One without a name has been deleted."""
    return {"id": user_id, "username": username, "deleted": username is None}


def encode_row(row: Mapping[str, Any]) -> bytes:
    """The body of a row, which its entity tag is a hash of."""
    return to_json(row)


def encode_page(page: Page[RecordRow]) -> bytes:
    counted = {} if page.total is None else {"total": page.total.rows, "total_is_exact": page.total.is_exact}
    return to_json({"items": page.rows, "next": page.next, **counted})


def check_version(condition: Condition | None, row: Mapping[str, Any]) -> None:
    """ChangedMeanwhileError if the condition names another version. The row is locked, so it is still that one."""
    if condition is not None:
        condition.require(etag_of(encode_row(row)))


def read_response(request: Request, body: bytes) -> Response:
    return json_response(request, body, _PRIVATE if "authorization" in request.headers else _SHARED)


def write_response(row: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """What was written, with the tag that a read of it would have."""
    body = encode_row(row)
    return Response(body, status, {"ETag": etag_of(body), **(headers or {})}, media_type="application/json")
