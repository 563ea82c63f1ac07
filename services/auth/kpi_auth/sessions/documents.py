"""The named schemas of what clients send to sign in, refresh and revoke, for generators of clients."""

from typing import Any, Literal

from sqlmodel import SQLModel

from kpi_auth.accounts.fields import GivenPassword, Login
from kpi_auth.oauth.documents import form_schema, reference
from kpi_auth.sessions.schemas import Refresh, Revocation


class UsernameCredentials(SQLModel):
    """A username and a password (RFC 6749, section 4.3.2); an e-mail address may be in ``username`` too."""

    username: Login
    password: GivenPassword
    grant_type: Literal["password"] = "password"


class EmailCredentials(SQLModel):
    """An e-mail address and a password."""

    email: Login
    password: GivenPassword
    grant_type: Literal["password"] = "password"


SCHEMAS: dict[str, dict[str, Any]] = {
    model.__name__: form_schema(model) for model in (UsernameCredentials, EmailCredentials, Refresh, Revocation)
} | {
    # One function with optional parameters, or a union of two types, depending on the generator.
    "Credentials": {
        "title": "Credentials",
        "description": "A password with either a username or an e-mail address.",
        "oneOf": [reference("UsernameCredentials"), reference("EmailCredentials")],
    },
}
