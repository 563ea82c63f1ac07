"""The fields of an account as clients send them: names, addresses, passwords."""

import unicodedata
from typing import Annotated, Self

from kpi_shared.fields.emails import normalize_email
from kpi_shared.text import OneLine, StorableSecret, StorableText
from pydantic import BeforeValidator, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from sqlmodel import Field, SQLModel

from kpi_auth.accounts.examples import EMAIL, USERNAME, with_examples

MAX_USERNAME = 32
MIN_PASSWORD = 8
MAX_PASSWORD = 256


def normalize_name(value: object) -> object:
    """NFKC, the form in which usernames are compared."""
    # Normalising a long run of combining marks takes quadratic time, so only short values are normalised.
    if isinstance(value, str) and len(value) <= 4 * MAX_USERNAME:
        return unicodedata.normalize("NFKC", value)
    return value


Username = Annotated[
    str,
    StringConstraints(min_length=3, max_length=MAX_USERNAME, pattern=r"^[A-Za-z0-9_.-]+$"),
    BeforeValidator(normalize_name),
]
# The lengths are those of the table. A name is one line with a visible character; PostgreSQL's text type has no NUL.
FullName = Annotated[str, StringConstraints(min_length=1, max_length=100), OneLine()]
Bio = Annotated[StorableText, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
# A new password must have the minimum length; a password that is compared with a stored hash need not.
Password = Annotated[StorableSecret, Field(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]
GivenPassword = Annotated[StorableSecret, Field(min_length=1, max_length=MAX_PASSWORD)]
Login = Annotated[StorableText, StringConstraints(min_length=1, max_length=254)]


class AccountName(SQLModel):
    """The account: by its username or its e-mail address. Either field accepts both."""

    model_config = {
        "extra": "forbid",
        "json_schema_extra": with_examples({"username": USERNAME}, {"email": EMAIL}),
    }

    username: Login | None = None
    email: Login | None = None

    @model_validator(mode="after")
    def _require_one_name(self) -> Self:
        if (self.username is None) == (self.email is None):
            raise PydanticCustomError("login", "Exactly one of username and email is required")
        return self

    @property
    def login(self) -> str:
        """The name or address in the form in which it is stored."""
        given = unicodedata.normalize("NFKC", self.username or self.email or "").strip().lower()
        try:
            return normalize_email(given) if "@" in given else given
        except PydanticCustomError:
            # No account has such an address, so the lookup finds nothing.
            return given
