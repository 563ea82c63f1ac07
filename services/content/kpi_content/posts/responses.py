"""Posts as the bytes of a response body. The tests compare them with the schemas of the API document.

FastAPI would validate each post and build objects from it before it encodes them: four times the time of to_json.
"""

from collections.abc import Mapping

from fastapi import Request, Response
from kpi_shared.http.conditional import etag_of, json_response
from kpi_shared.paging import Page
from pydantic_core import to_json

from kpi_content.posts.filters import Total
from kpi_content.posts.rows import ListedRow, PostRow, encode_post

# Every read is revalidated, which costs the client no body where nothing has changed. A request with a token may see
# drafts, so its response is private, and a response that is cached for others must not be used for it.
_SHARED = {"Cache-Control": "no-cache", "Vary": "Authorization"}
_PRIVATE = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}


def read_response(request: Request, body: bytes) -> Response:
    return json_response(request, body, _PRIVATE if "authorization" in request.headers else _SHARED)


def write_response(row: PostRow, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The post that was written, with the tag that a read of it would have."""
    body = encode_post(row)
    return Response(body, status, {"ETag": etag_of(body), **(headers or {})}, media_type="application/json")


def encode_page(page: Page[ListedRow], *, total: Total | None) -> bytes:
    """``total`` is left out where it is None, which means that the client did not ask for it."""
    counted = {} if total is None else {"total": total.posts, "total_is_exact": total.is_exact}
    return to_json({"items": [post for post, _ in page.rows], "next": page.next, **counted})
