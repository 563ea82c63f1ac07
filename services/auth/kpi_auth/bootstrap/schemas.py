"""The request and the response of the first start."""

import secrets
from typing import Self

from kpi_shared.caller import Role
from kpi_shared.fields.emails import Email
from pydantic import BaseModel, SecretStr, model_validator
from pydantic_core import PydanticCustomError
from sqlmodel import Field, SQLModel

from kpi_auth.accounts.examples import with_examples
from kpi_auth.accounts.fields import Password, Username
from kpi_auth.api_keys.fields import Name
from kpi_auth.api_keys.schemas import ApiKeyCreated
from kpi_auth.codes.fields import CodeText
from kpi_auth.passwords.policy import find_weakness

# 144 bits.
_GENERATED_BYTES = 18


class Bootstrap(SQLModel):
    """The first admin. Without a password, one is made and returned; ``code`` is in the log of auth."""

    model_config = {
        "extra": "forbid",
        "hide_input_in_errors": True,
        "json_schema_extra": with_examples({"code": "the-code-from-the-log-of-auth", "username": "root"}),
    }

    code: CodeText | None = None
    username: Username = "admin"
    email: Email | None = None
    password: Password | None = None
    key_name: Name = Field(default="master key")

    @model_validator(mode="after")
    def _refuse_guessable(self) -> Self:
        given = self.password.get_secret_value() if self.password else None
        if given and (reason := find_weakness(given, username=self.username, email=self.email or "")):
            raise PydanticCustomError("guessable_password", "The password {reason}", {"reason": reason})
        return self

    def choose_password(self) -> SecretStr:
        return self.password or SecretStr(secrets.token_urlsafe(_GENERATED_BYTES))


class BootstrapState(BaseModel):
    """Whether the first admin is still to be made."""

    is_open: bool


class FirstAdmin(BaseModel):
    """The new account; ``password`` is shown this once, and null if the request had one."""

    id: int
    username: str
    email: str | None
    role: Role
    password: str | None


class Bootstrapped(BaseModel):
    """The first admin and a key with all rights. The key is shown this once: keep it."""

    user: FirstAdmin
    api_key: ApiKeyCreated
