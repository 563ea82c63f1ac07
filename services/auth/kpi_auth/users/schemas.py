"""What people send about a user, and what they are shown."""

import unicodedata
from datetime import datetime
from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from kpi_shared.text import StorableSecret
from kpi_shared.tokens import Role
from pydantic import AfterValidator, BeforeValidator, SecretStr, StringConstraints, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from sqlmodel import Field, SQLModel

from kpi_auth.passwords.policy import MAX_LENGTH, MIN_LENGTH, refusal

MAX_USERNAME = 32


def _nfkc(value: object) -> object:
    # A long run of combining marks takes the square of its length to normalise, so that is for short names only.
    if isinstance(value, str) and len(value) <= 4 * MAX_USERNAME:
        return unicodedata.normalize("NFKC", value)
    return value


def normalised_email(value: str) -> str:
    """The one form in which an address is stored and looked up; no DNS is asked."""
    try:
        address = validate_email(unicodedata.normalize("NFKC", value), check_deliverability=False, strict=True)
    except EmailNotValidError as error:
        raise PydanticCustomError("email", "{reason}", {"reason": str(error)}) from None
    return address.normalized.lower()


Username = Annotated[
    str,
    StringConstraints(min_length=3, max_length=MAX_USERNAME, pattern=r"^[A-Za-z0-9_.-]+$"),
    BeforeValidator(_nfkc),
]
Email = Annotated[
    str,
    StringConstraints(max_length=254),
    AfterValidator(normalised_email),
    Field(schema_extra={"json_schema_extra": {"format": "email"}}),
]
Password = Annotated[StorableSecret, Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH)]


class UserCreate(SQLModel):
    """A registration."""

    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    username: Username
    email: Email
    password: Password

    @field_validator("password")
    @classmethod
    def _password_is_not_guessable(cls, password: SecretStr, info: ValidationInfo) -> SecretStr:
        named = [str(info.data.get(name, "")) for name in ("username", "email")]
        reason = refusal(password.get_secret_value(), username=named[0], email=named[1])
        if reason is not None:
            raise PydanticCustomError("guessable_password", "The password {reason}", {"reason": reason})
        return password


class UserPublic(SQLModel):
    """What any signed-in user sees of another."""

    id: int
    username: str
    created_at: datetime


class UserPrivate(UserPublic):
    """What users see of themselves, and admins of everyone."""

    email: str | None
    role: Role
    is_active: bool
    updated_at: datetime
