"""Credentials as a form or as JSON, and the tokens that they give."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import StringConstraints, ValidationError
from sqlmodel import SQLModel

from kpi_auth.accounts.fields import AccountName, GivenPassword
from kpi_auth.sessions.errors import UnsupportedMediaTypeError

_FORM = "application/x-www-form-urlencoded"


class Credentials(AccountName):
    """A username or an e-mail address, and the password.

    Other members of the OAuth2 password form (RFC 6749, section 4.3.2) are ignored.
    """

    model_config = {"extra": "ignore", "hide_input_in_errors": True}  # noqa: RUF012 pydantic reads it once

    password: GivenPassword
    grant_type: Literal["password", ""] = "password"


class SessionTokens(SQLModel):
    """RFC 6749, section 5.1; lifetimes are in seconds."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    username: str


_Token = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class Refresh(SQLModel):
    """RFC 6749, section 6, as a form or as JSON; there are no scopes and no registered clients."""

    model_config = {"hide_input_in_errors": True}

    refresh_token: _Token
    grant_type: Literal["refresh_token"] = "refresh_token"


class Revocation(SQLModel):
    """RFC 7009, section 2.1, as a form or as JSON. The hint is not used: the two kinds of token differ in form."""

    model_config = {"hide_input_in_errors": True}

    token: _Token
    token_type_hint: Annotated[str, StringConstraints(max_length=100)] | None = None


class LogoutScope(StrEnum):
    """Which of the caller's sessions to end: the current one, all others, or all."""

    LOCAL = "local"
    OTHERS = "others"
    GLOBAL = "global"


class Logout(SQLModel):
    model_config = {"extra": "forbid"}

    scope: LogoutScope = LogoutScope.LOCAL


class SessionShown(SQLModel):
    """A session that can still be refreshed; ``address`` and ``user_agent`` are those of its last refresh."""

    id: int
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    address: str | None
    user_agent: str | None
    is_current: bool


class SessionList(SQLModel):
    """All of a user's sessions: SESSION_LIMIT bounds their number, so there is no next page."""

    items: list[SessionShown]
    next: None


async def _read_body(request: Request) -> Any:  # noqa: ANN401 any JSON value
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == _FORM:
        async with request.form(max_fields=20) as form:
            return dict(form)
    if media_type == "application/json":
        return await _read_json(request)
    raise UnsupportedMediaTypeError(f"Content-Type is {media_type}" if media_type else "Content-Type is missing")


async def _read_json(request: Request) -> Any:  # noqa: ANN401 as above
    try:
        return await request.json()
    except (ValueError, RecursionError):
        error = {"type": "json_invalid", "loc": ("body",), "msg": "The body is not valid JSON"}
        raise RequestValidationError([error]) from None


Body = TypeVar("Body", bound=SQLModel)


def form_or_json(schema: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """A dependency that reads a body in either form."""

    async def read(request: Request) -> Body:
        try:
            return schema.model_validate(await _read_body(request))
        except ValidationError as error:
            errors = error.errors(include_input=False, include_url=False)
            raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in errors]) from None

    return read


SentCredentials = Annotated[Credentials, Depends(form_or_json(Credentials))]
SentRefresh = Annotated[Refresh, Depends(form_or_json(Refresh))]
SentRevocation = Annotated[Revocation, Depends(form_or_json(Revocation))]


def body_of(schema: type[SQLModel]) -> dict[str, Any]:
    """The OpenAPI description that the framework cannot derive: one body in two media types."""
    content = {media_type: {"schema": schema.model_json_schema()} for media_type in (_FORM, "application/json")}
    return {"requestBody": {"required": True, "content": content}}
