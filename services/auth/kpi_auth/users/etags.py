"""Entity tags of users: a tag is strong, it names one version as one kind of caller sees it, byte for byte."""

from typing import Annotated

from fastapi import Depends, Header, Request
from kpi_shared.http.conditional import Condition, parse_condition

from kpi_auth.users.errors import ChangedMeanwhileError


def private_etag(version: int, user_id: int) -> str:
    """Of a user with all fields, as admins and the user see it.

    It names the user: /auth/me is one address for all, and a browser that two people use asks for the second with what
    it has of the first.
    """
    return f'"{version}-a{user_id}"'


def public_etag(version: int) -> str:
    """Of a user as others see it."""
    return f'"{version}"'


def check_match(condition: Condition | None, *, version: int, user_id: int) -> None:
    """ChangedMeanwhileError if the caller means another version; whoever may write sees all fields."""
    etag = private_etag(version, user_id)
    if condition is not None and not condition.matches_strongly(etag):
        raise ChangedMeanwhileError(headers={"ETag": etag})


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
