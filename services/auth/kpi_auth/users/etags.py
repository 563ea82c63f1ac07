"""Entity tags of users: a tag is strong, it names one version as one kind of caller sees it, byte for byte."""

from typing import Annotated

from fastapi import Depends, Header, Request
from kpi_shared.conditional import Condition, parse_condition

from kpi_auth.users.errors import ChangedMeanwhileError


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
