"""Conversations as the bytes of a response body. The tests compare them with the schemas of the API document."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request, Response
from kpi_shared.http.conditional import etag_of, json_response
from pydantic_core import to_json

# Every read is revalidated, and no response is for another caller.
PRIVATE = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}


def read_response(request: Request, body: bytes) -> Response:
    return json_response(request, body, PRIVATE)


def write_response(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """What was written, with the tag that a read of it would have."""
    return Response(body, status, {"ETag": etag_of(body), **(headers or {})}, media_type="application/json")


def encode_page(rows: Sequence[Mapping[str, Any]], *, next_cursor: str | None) -> bytes:
    return to_json({"items": rows, "next": next_cursor})
