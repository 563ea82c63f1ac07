"""What clients send about their e-mail address."""

from sqlmodel import SQLModel

from kpi_auth.accounts.fields import AccountName, Email, GivenPassword
from kpi_auth.codes.fields import CodeText


class Verification(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    code: CodeText


class VerificationWanted(AccountName):
    """Whose address is to be verified: a username, or the address itself."""


class EmailChange(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    password: GivenPassword
    new_email: Email
