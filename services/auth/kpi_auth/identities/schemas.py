"""The request (RFC 8693, section 2.1) and the response of a token exchange."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Request
from pydantic import StringConstraints, ValidationError
from sqlmodel import SQLModel

from kpi_auth.identities.errors import (
    InvalidScopeError,
    InvalidTargetError,
    InvalidTokenExchangeError,
    UnsupportedGrantTypeError,
)
from kpi_auth.oauth.bodies import find_repeated, read_parameters
from kpi_auth.oauth.documents import form_schema
from kpi_auth.sessions.schemas import SessionTokens
from kpi_auth.settings import AuthSettings

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 the name of a token type
# RFC 8693, section 2.1: only these two may be given more than once.
_REPEATABLE = {"audience", "resource"}

SubjectTokenType = Literal[
    "urn:ietf:params:oauth:token-type:jwt",
    "urn:ietf:params:oauth:token-type:id_token",
    "urn:ietf:params:oauth:token-type:access_token",
]


class TokenExchange(SQLModel):
    """A form; unknown parameters are ignored, as RFC 6749, section 3.2, requires."""

    model_config = {"hide_input_in_errors": True}

    grant_type: Literal["urn:ietf:params:oauth:grant-type:token-exchange"]
    subject_token: Annotated[str, StringConstraints(min_length=1)]
    subject_token_type: SubjectTokenType
    requested_token_type: Literal["urn:ietf:params:oauth:token-type:access_token"] | None = None


class ExchangedTokens(SessionTokens):
    """RFC 8693, section 2.2.1."""

    issued_token_type: Literal["urn:ietf:params:oauth:token-type:access_token"]


class VerifiedUser(SQLModel):
    id: int
    email: str | None


class VerifiedSession(SessionTokens):
    """``token`` repeats the access token under the name that older clients use; it expires at ``expires_at``."""

    message: str
    token: str
    user: VerifiedUser
    expires_at: datetime


async def _read_form(request: Request) -> TokenExchange:
    sent = await read_parameters(request)
    _check_repetitions(sent)
    values = dict(sent)
    if "grant_type" in values and values["grant_type"] != GRANT_TYPE:
        raise UnsupportedGrantTypeError
    _check_target(values, sent, request.app.state.settings)
    return _validate(values)


def _check_repetitions(sent: Sequence[tuple[str, str]]) -> None:
    repeated = find_repeated(name for name, _ in sent if name not in _REPEATABLE)
    if repeated:
        raise InvalidTokenExchangeError(
            errors=[_error(name, "is given more than once", "repeated") for name in repeated]
        )


def _check_target(values: Mapping[str, str], sent: Sequence[tuple[str, str]], settings: AuthSettings) -> None:
    """Our tokens are for the whole platform and for their user only, and have no scope: no other target is possible."""
    if "actor_token" in values or "actor_token_type" in values:
        raise InvalidTokenExchangeError("Delegation is not supported: actor_token is not accepted")
    if "scope" in values:
        raise InvalidScopeError
    ours = {"audience": {settings.token_audience}, "resource": {settings.public_url, f"{settings.public_url}/"}}
    if any(value not in ours[name] for name, value in sent if name in ours):
        raise InvalidTargetError


def _validate(values: Mapping[str, str]) -> TokenExchange:
    try:
        return TokenExchange.model_validate(dict(values))
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        errors = [_error(str(item["loc"][0]), item["msg"], item["type"]) for item in found]
        raise InvalidTokenExchangeError(errors=errors) from None


def _error(parameter: str, detail: str, kind: str) -> dict[str, str]:
    return {"pointer": f"#/body/{parameter}", "detail": detail, "type": kind}


SentTokenExchange = Annotated[TokenExchange, Depends(_read_form)]

_TEXT = {"type": "string"}
_SCHEMA = form_schema(TokenExchange)
# Described here, since the framework would read a declared form and report errors in its own format.
SCHEMAS: dict[str, dict[str, Any]] = {
    "TokenExchange": {**_SCHEMA, "properties": {**_SCHEMA["properties"], "audience": _TEXT, "resource": _TEXT}}
}
