"""Entity tags, If-Match and If-None-Match (RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2)."""

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Any, NamedTuple

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from kpi_shared.errors import ProblemError
from kpi_shared.http.openapi import Responses

# The OpenAPI description of a conditional route. The header is read from the request itself: a declared parameter would
# cost every request that does not send it.
NOT_MODIFIED: Responses = {304: {"description": "Not modified: If-None-Match contains the current entity tag"}}
IF_NONE_MATCH: dict[str, Any] = {
    "parameters": [
        {
            "name": "If-None-Match",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "The entity tags of versions that the client has",
        }
    ]
}

IF_MATCH: dict[str, Any] = {
    "parameters": [
        {
            "name": "If-Match",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "The entity tag of the version that the client has read; 412 if it has changed since",
        }
    ]
}

# One member of a list, possibly empty, with its comma. It never backtracks, however long the header is.
_MEMBER = re.compile(r'[ \t]*+(?:(W/)?("[\x21\x23-\x7e\x80-\xff]*+"))?[ \t]*+(?:,|\Z)')


class MalformedConditionError(ProblemError):
    status = 400
    type = "malformed-condition"
    title = "If-Match and If-None-Match must be * or a list of quoted entity tags"


class ChangedMeanwhileError(ProblemError):
    """RFC 9110, section 15.5.13. The response has the tag of the current version in its ETag header."""

    status = 412
    type = "changed-meanwhile"
    title = "The resource has changed since the version in If-Match: read it again"


class _Tag(NamedTuple):
    is_weak: bool
    opaque: str


class Condition(NamedTuple):
    """The value of a header: ``any`` for ``*``, or a list of tags."""

    any: bool
    tags: Sequence[_Tag]

    def matches_strongly(self, etag: str) -> bool:
        """Strong comparison: a weak tag never matches."""
        return self.any or any(not tag.is_weak and tag.opaque == etag for tag in self.tags)

    def require(self, etag: str) -> None:
        """ChangedMeanwhileError unless the current version, whose tag this is, matches strongly."""
        if not self.matches_strongly(etag):
            raise ChangedMeanwhileError(headers={"ETag": etag})

    def matches_weakly(self, etag: str) -> bool:
        return self.any or any(tag.opaque == etag for tag in self.tags)


def parse_condition(lines: Sequence[str]) -> Condition | None:
    """Parse all lines of one header; None if there are none, MalformedConditionError if they are not valid."""
    if not lines:
        return None
    value = ",".join(lines)
    if value.strip(" \t") == "*":
        return Condition(any=True, tags=())
    tags = _parse_tags(value)
    if not tags:
        raise MalformedConditionError
    return Condition(any=False, tags=tags)


def _parse_tags(value: str) -> list[_Tag]:
    tags, position = [], 0
    while position < len(value):
        member = _MEMBER.match(value, position)
        if member is None:
            raise MalformedConditionError
        if member[2]:
            tags.append(_Tag(is_weak=bool(member[1]), opaque=member[2]))
        position = member.end()
    return tags


def etag_of(body: bytes) -> str:
    """A strong tag: a hash of the bytes."""
    return f'"{blake2b(body, digest_size=16).hexdigest()}"'


def is_not_modified(request: Request, etag: str) -> bool:
    """Whether If-None-Match contains the tag, so that the response is 304."""
    condition = parse_condition(request.headers.getlist("if-none-match"))
    return condition is not None and condition.matches_weakly(etag)


async def _if_match(request: Request) -> Condition | None:
    return parse_condition(request.headers.getlist("if-match"))


IfMatch = Annotated[Condition | None, Depends(_if_match)]


def json_response(request: Request, body: bytes, headers: Mapping[str, str]) -> Response:
    """The response to a read: the body with its tag, or 304 with the same ``headers`` if the client has it."""
    headers = {"ETag": etag_of(body), **headers}
    if is_not_modified(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
