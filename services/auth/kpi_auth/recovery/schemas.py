"""What clients send to get a new password where it was forgotten."""

from sqlmodel import SQLModel

from kpi_auth.accounts.fields import AccountName, Password
from kpi_auth.codes.fields import CodeText


class PasswordForgotten(AccountName):
    """Whose password it is: a username, or an e-mail address."""


class PasswordReset(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    code: CodeText
    new_password: Password
