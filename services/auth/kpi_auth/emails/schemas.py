"""The request bodies about e-mail addresses."""

from kpi_shared.fields.emails import Email
from sqlmodel import SQLModel

from kpi_auth.accounts.examples import CODE, NEW_EMAIL, PASSWORD, with_examples
from kpi_auth.accounts.fields import AccountName, GivenPassword
from kpi_auth.codes.fields import CodeText


class Verification(SQLModel):
    model_config = {
        "extra": "forbid",
        "hide_input_in_errors": True,
        "json_schema_extra": with_examples({"code": CODE}),
    }

    code: CodeText


class VerificationWanted(AccountName):
    """The account whose address is to be verified: by its username or by the address."""


class EmailChange(SQLModel):
    model_config = {
        "extra": "forbid",
        "hide_input_in_errors": True,
        "json_schema_extra": with_examples({"password": PASSWORD, "new_email": NEW_EMAIL}),
    }

    password: GivenPassword
    new_email: Email
