"""Posts as the bytes that are sent. The schemas in the API document are held against them by the tests.

FastAPI would validate each post, make objects of it and turn these into JSON: four times the time of to_json.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request, Response
from kpi_shared.http.conditional import json_response
from pydantic_core import to_json

from kpi_content.posts.listing import ListedRow, PostRow

# Each read is asked about again, which costs the reader no body where nothing has changed. Whoever sends a token may
# see drafts, so what they get is theirs alone, and what is kept for others is not theirs.
_SHARED = {"Cache-Control": "no-cache", "Vary": "Authorization"}
_PRIVATE = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}


def read(request: Request, body: bytes) -> Response:
    return json_response(request, body, _PRIVATE if "authorization" in request.headers else _SHARED)


def written(row: PostRow, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(post(row), status, headers, media_type="application/json")


def post(row: PostRow) -> bytes:
    return to_json(_shown(row))


def page(rows: Sequence[ListedRow], *, following: str | None, total: int | None) -> bytes:
    """Some posts, the cursor of those after them, and the number of all if it was asked for."""
    counted = {} if total is None else {"total": total}
    return to_json({"items": [_shown(row) for row in rows], "next": following, **counted})


def _shown(row: PostRow | ListedRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "title": row.title,
        "content": row.content,
        "published": row.published,
        "date": row.date,
        "updated_at": row.updated_at,
        "votes": row.votes,
        "owner": {"id": row.owner_id, "username": row.username},
    }
