"""Entity tags, and the two headers that ask about them (RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2)."""

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from kpi_shared.errors import ProblemError
from kpi_shared.http.openapi import Responses

# What a route that answers conditionally adds to its description. The header is read from the request itself:
# a parameter would cost every request that does not send it.
NOT_MODIFIED: Responses = {304: {"description": "The version that If-None-Match names is still the newest"}}
IF_NONE_MATCH: dict[str, Any] = {
    "parameters": [
        {
            "name": "If-None-Match",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "The version known already",
        }
    ]
}

# One member of a list, which may be empty, up to its comma. Nothing is tried twice, however long the header is.
_MEMBER = re.compile(r'[ \t]*+(?:(W/)?("[\x21\x23-\x7e\x80-\xff]*+"))?[ \t]*+(?:,|\Z)')


class MalformedConditionError(ProblemError):
    status = 400
    type = "malformed-condition"
    title = "If-Match and If-None-Match hold * or a list of entity tags in double quotes"


class _Tag(NamedTuple):
    is_weak: bool
    opaque: str


class Condition(NamedTuple):
    """What a header asks for: any version at all, or one of these."""

    any: bool
    tags: Sequence[_Tag]

    def matches_strongly(self, etag: str) -> bool:
        """A weak tag never does."""
        return self.any or any(not tag.is_weak and tag.opaque == etag for tag in self.tags)

    def matches_weakly(self, etag: str) -> bool:
        return self.any or any(tag.opaque == etag for tag in self.tags)


def parse_condition(lines: Sequence[str]) -> Condition | None:
    """All lines of one header together; None where there is none, MalformedConditionError where it makes no sense."""
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
    """A strong tag: it names these very bytes."""
    return f'"{blake2b(body, digest_size=16).hexdigest()}"'


def is_not_modified(request: Request, etag: str) -> bool:
    """Does If-None-Match name this version? Then 304 is the answer."""
    condition = parse_condition(request.headers.getlist("if-none-match"))
    return condition is not None and condition.matches_weakly(etag)


def json_response(request: Request, body: bytes, headers: Mapping[str, str]) -> Response:
    """The answer to a read: the body under its tag, or 304 with the same ``headers`` to who has it already."""
    headers = {"ETag": etag_of(body), **headers}
    if is_not_modified(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
