"""Entity tags of users. They are strong: a tag identifies one version in one representation, byte for byte."""

from typing import Annotated

from fastapi import Depends, Header, Request
from kpi_shared.http.conditional import Condition, parse_condition


def private_etag(version: int, user_id: int) -> str:
    """The tag of a user with all fields, as admins and the user see it.

    It has the user's id, because /auth/me is one URL for all users: a browser that two users share would otherwise
    revalidate the second user's data with the first user's tag.
    """
    return f'"{version}-a{user_id}"'


def public_etag(version: int) -> str:
    """The tag of a user with the public fields."""
    return f'"{version}"'


def check_match(condition: Condition | None, *, version: int, user_id: int) -> None:
    """Raise ChangedMeanwhileError if the condition is for another version; callers who may write see all fields."""
    if condition is not None:
        condition.require(private_etag(version, user_id))


async def _if_match(
    request: Request,
    _documented: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="The entity tag of the version that the client has read; 412 if the user has changed since",
        ),
    ] = None,
) -> Condition | None:
    return parse_condition(request.headers.getlist("if-match"))


async def _if_none_match(
    request: Request,
    _documented: Annotated[
        str | None, Header(alias="If-None-Match", description="The entity tag that the client already has")
    ] = None,
) -> Condition | None:
    return parse_condition(request.headers.getlist("if-none-match"))


IfMatch = Annotated[Condition | None, Depends(_if_match)]
IfNoneMatch = Annotated[Condition | None, Depends(_if_none_match)]
