"""The request bodies to reset a forgotten password."""

from sqlmodel import SQLModel

from kpi_auth.accounts.examples import CODE, NEW_PASSWORD, with_examples
from kpi_auth.accounts.fields import AccountName, Password
from kpi_auth.codes.fields import CodeText


class PasswordForgotten(AccountName):
    """The account whose password was forgotten: by its username or its e-mail address."""


class PasswordReset(SQLModel):
    model_config = {
        "extra": "forbid",
        "hide_input_in_errors": True,
        "json_schema_extra": with_examples({"code": CODE, "new_password": NEW_PASSWORD}),
    }

    code: CodeText
    new_password: Password
