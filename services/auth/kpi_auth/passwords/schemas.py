"""What people send to change a password or to get a new one."""

from typing import Annotated

from kpi_shared.text import StorableSecret
from pydantic import StringConstraints
from sqlmodel import Field, SQLModel

from kpi_auth.passwords.policy import MAX_LENGTH
from kpi_auth.sessions.schemas import AccountName
from kpi_auth.users.schemas import Password

# Any password, to be compared with one that is kept.
GivenPassword = Annotated[StorableSecret, Field(min_length=1, max_length=MAX_LENGTH)]
# Room for more than those that are made today; people copy them together with what stands around them.
CodeText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_-]+$")
]


class PasswordChange(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    current_password: GivenPassword
    new_password: Password


class PasswordForgotten(AccountName):
    """Whose password it is: a username, or an e-mail address."""


class PasswordReset(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    code: CodeText
    new_password: Password
