"""Entity tags of users, and the two headers that ask about them (RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2).

A tag is strong: it names one version as one kind of caller sees it, byte for byte.
"""

import re
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from fastapi import Depends, Header, Request
from kpi_shared.errors import ProblemError

from kpi_auth.users.errors import ChangedMeanwhileError

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

    def fits_strongly(self, etag: str) -> bool:
        """A weak tag never does."""
        return self.any or any(not tag.is_weak and tag.opaque == etag for tag in self.tags)

    def fits_weakly(self, etag: str) -> bool:
        return self.any or any(tag.opaque == etag for tag in self.tags)


def private_etag(version: int) -> str:
    """Of a user with all fields, as admins and the user see it."""
    return f'"{version}-a"'


def public_etag(version: int) -> str:
    """Of a user as others see it."""
    return f'"{version}"'


def check_match(condition: Condition | None, *, version: int) -> None:
    """ChangedMeanwhileError if the caller means another version; whoever may write sees all fields."""
    if condition is not None and not condition.fits_strongly(private_etag(version)):
        raise ChangedMeanwhileError(headers={"ETag": private_etag(version)})


def parse_condition(lines: Sequence[str]) -> Condition | None:
    """All lines of one header together; None where there is none, MalformedConditionError where it makes no sense."""
    if not lines:
        return None
    value = ",".join(lines)
    if value.strip(" \t") == "*":
        return Condition(any=True, tags=())
    tags = _tags(value)
    if not tags:
        raise MalformedConditionError
    return Condition(any=False, tags=tags)


def _tags(value: str) -> list[_Tag]:
    tags, position = [], 0
    while position < len(value):
        member = _MEMBER.match(value, position)
        if member is None:
            raise MalformedConditionError
        if member[2]:
            tags.append(_Tag(is_weak=bool(member[1]), opaque=member[2]))
        position = member.end()
    return tags


async def _if_match(
    request: Request,
    _documented: Annotated[str | None, Header(alias="If-Match", description="Only if it is still this version")] = None,
) -> Condition | None:
    return parse_condition(request.headers.getlist("if-match"))


async def _if_none_match(
    request: Request,
    _documented: Annotated[str | None, Header(alias="If-None-Match", description="The version known already")] = None,
) -> Condition | None:
    return parse_condition(request.headers.getlist("if-none-match"))


IfMatch = Annotated[Condition | None, Depends(_if_match)]
IfNoneMatch = Annotated[Condition | None, Depends(_if_none_match)]
