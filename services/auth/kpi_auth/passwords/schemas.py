"""The request to change a password."""

from sqlmodel import SQLModel

from kpi_auth.accounts.fields import GivenPassword, Password


class PasswordChange(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    current_password: GivenPassword
    new_password: Password
