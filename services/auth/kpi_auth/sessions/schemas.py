"""Credentials as a form or as JSON, and the tokens that they give."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from fastapi import Depends, Request
from pydantic import StringConstraints
from sqlmodel import SQLModel

from kpi_auth.accounts.examples import with_examples
from kpi_auth.accounts.fields import AccountName, GivenPassword
from kpi_auth.oauth.bodies import read_body, validate


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


TokenText = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class Refresh(SQLModel):
    """RFC 6749, section 6, as a form or as JSON; there are no scopes and no registered clients."""

    model_config = {"hide_input_in_errors": True}

    refresh_token: TokenText
    grant_type: Literal["refresh_token"] = "refresh_token"


class Revocation(SQLModel):
    """RFC 7009, section 2.1, as a form or as JSON. The hint is not used: the two kinds of token differ in form."""

    model_config = {"hide_input_in_errors": True}

    token: TokenText
    token_type_hint: Annotated[str, StringConstraints(max_length=100)] | None = None


class LogoutScope(StrEnum):
    """Which of the caller's sessions to end: the current one, all others, or all."""

    LOCAL = "local"
    OTHERS = "others"
    GLOBAL = "global"


class Logout(SQLModel):
    model_config = {"extra": "forbid", "json_schema_extra": with_examples({"scope": "local"})}

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
    """All of a user's sessions. ``next`` is null: SESSION_LIMIT bounds their number, so there is only one page."""

    items: list[SessionShown]
    next: str | None


async def _read_grant(request: Request) -> Credentials | Refresh:
    """The token URL takes two grants (RFC 6749, sections 4.3.2 and 6)."""
    body = await read_body(request)
    is_refresh = isinstance(body, dict) and body.get("grant_type") == "refresh_token"
    return validate(Refresh, body) if is_refresh else validate(Credentials, body)


async def _read_refresh(request: Request) -> Refresh:
    return validate(Refresh, await read_body(request))


async def _read_revocation(request: Request) -> Revocation:
    return validate(Revocation, await read_body(request))


SentGrant = Annotated[Credentials | Refresh, Depends(_read_grant)]
SentRefresh = Annotated[Refresh, Depends(_read_refresh)]
SentRevocation = Annotated[Revocation, Depends(_read_revocation)]
