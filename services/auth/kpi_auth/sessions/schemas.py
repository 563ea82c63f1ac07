"""Credentials, in both of their forms, and the token they buy."""

import unicodedata
from typing import Annotated, Any, Literal, Self

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from kpi_shared.text import StorableSecret, StorableText
from pydantic import StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from sqlmodel import Field, SQLModel

from kpi_auth.passwords.policy import MAX_LENGTH
from kpi_auth.sessions.errors import UnsupportedMediaTypeError
from kpi_auth.users.schemas import normalised_email

_FORM = "application/x-www-form-urlencoded"

Login = Annotated[StorableText, StringConstraints(min_length=1, max_length=254)]


class Credentials(SQLModel):
    """A password and whose it is: a username, or an e-mail address in either field.

    The further members are those of the OAuth2 password form (RFC 6749, section 4.3.2), and are not used.
    """

    model_config = {"hide_input_in_errors": True}

    username: Login | None = None
    email: Login | None = None
    password: Annotated[StorableSecret, Field(min_length=1, max_length=MAX_LENGTH)]
    grant_type: Literal["password", ""] = "password"

    @model_validator(mode="after")
    def _names_one_account(self) -> Self:
        if (self.username is None) == (self.email is None):
            raise PydanticCustomError("login", "Either username or email is needed")
        return self

    @property
    def login(self) -> str:
        """In the form in which names and addresses are stored, so that what was registered also signs in."""
        given = unicodedata.normalize("NFKC", self.username or self.email or "").strip().lower()
        try:
            return normalised_email(given) if "@" in given else given
        except PydanticCustomError:
            # No account has it: the search for it finds nothing.
            return given


class AccessToken(SQLModel):
    """RFC 6749, section 5.1; ``expires_in`` is in seconds."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int
    username: str


async def _credentials(request: Request) -> Credentials:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == _FORM:
        async with request.form(max_fields=20) as form:
            return _validated(dict(form))
    if media_type == "application/json":
        return _validated(await _json(request))
    raise UnsupportedMediaTypeError(f"{media_type or 'no media type'} was sent")


async def _json(request: Request) -> Any:  # noqa: ANN401 whatever was sent
    try:
        return await request.json()
    except (ValueError, RecursionError):
        error = {"type": "json_invalid", "loc": ("body",), "msg": "The body is not valid JSON"}
        raise RequestValidationError([error]) from None


def _validated(data: Any) -> Credentials:  # noqa: ANN401 as above
    try:
        return Credentials.model_validate(data)
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in errors]) from None


SentCredentials = Annotated[Credentials, Depends(_credentials)]

# What the framework cannot derive: one body in two media types.
CREDENTIALS_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            media_type: {"schema": Credentials.model_json_schema()} for media_type in (_FORM, "application/json")
        },
    }
}
