"""The request body of a registration."""

from kpi_shared.caller import Role
from kpi_shared.fields.emails import Email
from pydantic import SecretStr, StrictBool, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from sqlmodel import SQLModel

from kpi_auth.accounts.examples import EMAIL, PASSWORD, USERNAME, with_examples
from kpi_auth.accounts.fields import Bio, FullName, Password, Username
from kpi_auth.accounts.models import NewAccount
from kpi_auth.passwords.policy import find_weakness
from kpi_auth.users.schemas import UserPrivate

# The values that every client may send; only an admin may set others.
_DEFAULTS = {"role": Role.USER, "is_active": True}


class RegisteredUser(UserPrivate):
    """The new user, with ``email_verified: false`` until the address is confirmed.

    ``message`` says, for people, how to sign in, and whether the e-mail address must be confirmed first.
    """

    message: str


class UserCreate(SQLModel):
    """A registration."""

    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    username: Username
    email: Email
    password: Password

    @field_validator("password")
    @classmethod
    def _refuse_guessable(cls, password: SecretStr, info: ValidationInfo) -> SecretStr:
        named = [str(info.data.get(name, "")) for name in ("username", "email")]
        reason = find_weakness(password.get_secret_value(), username=named[0], email=named[1])
        if reason is not None:
            raise PydanticCustomError("guessable_password", "The password {reason}", {"reason": reason})
        return password


class Registration(UserCreate):
    """A registration; only an admin may set ``role`` and ``is_active`` to other values than the defaults."""

    model_config = {
        "json_schema_extra": with_examples({"username": USERNAME, "email": EMAIL, "password": PASSWORD}),
    }

    full_name: FullName | None = None
    bio: Bio | None = None
    role: Role = Role.USER
    is_active: StrictBool = True

    @property
    def admin_fields(self) -> list[str]:
        """The fields with a value that only an admin may set; the default values are accepted from every client."""
        return [name for name, default in _DEFAULTS.items() if getattr(self, name) != default]

    def to_account(self, *, password_hash: str, email_signs_in: bool) -> NewAccount:
        """The columns of the new account."""
        kept = self.model_dump(exclude={"password"})
        return NewAccount(**kept, password_hash=password_hash, email_signs_in=email_signs_in)
