"""The request bodies about e-mail addresses."""

from sqlmodel import SQLModel

from kpi_auth.accounts.fields import AccountName, Email, GivenPassword
from kpi_auth.codes.fields import CodeText


class Verification(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    code: CodeText


class VerificationWanted(AccountName):
    """The account whose address is to be verified: by its username or by the address."""


class EmailChange(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    password: GivenPassword
    new_email: Email
