"""The request to change a password."""

from sqlmodel import SQLModel

from kpi_auth.accounts.examples import NEW_PASSWORD, PASSWORD, with_examples
from kpi_auth.accounts.fields import GivenPassword, Password


class PasswordChange(SQLModel):
    model_config = {
        "extra": "forbid",
        "hide_input_in_errors": True,
        "json_schema_extra": with_examples({"current_password": PASSWORD, "new_password": NEW_PASSWORD}),
    }

    current_password: GivenPassword
    new_password: Password
