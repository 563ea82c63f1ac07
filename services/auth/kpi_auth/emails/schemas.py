"""What people send about their e-mail address."""

from sqlmodel import SQLModel

from kpi_auth.passwords.schemas import CodeText, GivenPassword
from kpi_auth.sessions.schemas import AccountName
from kpi_auth.users.schemas import Email


class Verification(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    code: CodeText


class VerificationWanted(AccountName):
    """Whose address is to be verified: a username, or the address itself."""


class EmailChange(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    password: GivenPassword
    new_email: Email
