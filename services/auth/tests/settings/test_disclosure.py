"""Whether registration discloses that an address is taken."""

import pytest
from kpi_auth.settings import AuthSettings
from kpi_shared.settings import Environment
from pydantic import SecretStr

SERVER, FILES = "smtp://mail.example.com", "file:///mails"


@pytest.mark.parametrize(
    ("environment", "mail_url", "explicit", "discloses"),
    [
        ("development", None, None, True),
        ("development", FILES, None, True),
        ("development", SERVER, None, True),
        ("staging", SERVER, None, False),
        ("production", None, None, True),
        ("production", FILES, None, True),
        ("production", "FILE:///mails", None, True),
        ("production", SERVER, None, False),
        ("production", "smtps://user:word@mail.example.com", None, False),
        ("production", SERVER, True, True),
        ("production", FILES, False, False),
        ("development", SERVER, False, False),
    ],
)
def test_what_registration_discloses(
    secret_key: str, environment: str, mail_url: str | None, explicit: bool | None, discloses: bool
) -> None:
    settings = AuthSettings(
        database_url=SecretStr("postgresql://kpi@127.0.0.1/auth"),
        paseto_secret_key=SecretStr(secret_key),
        app_env=Environment(environment),
        mail_url=SecretStr(mail_url) if mail_url else None,
        registration_tells_email=explicit,
    )
    assert settings.discloses_email is discloses
