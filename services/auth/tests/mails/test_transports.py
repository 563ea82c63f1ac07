"""The services that MAIL_URL can name. What the transports do beyond that is tested with the kit."""

import json
from datetime import UTC, datetime

import pytest
from kpi_auth.mails.models import LeasedMail
from kpi_auth.mails.rendering import Renderer
from kpi_auth.mails.transports import build_transport
from kpi_auth.settings import AuthSettings
from mail_receivers import KEY, running_api
from mail_support import LINK
from pydantic import SecretStr, ValidationError


@pytest.mark.parametrize("url", [f"sendgrid://:{KEY}@{{}}", f"mailgun://:{KEY}@{{}}/mg.example.com"])
async def test_a_mail_goes_to_the_service_that_is_configured(settings: AuthSettings, url: str) -> None:
    with running_api() as api:
        settings = with_url(settings, url.format(api.url))
        assert settings.mail_url
        transport = build_transport(settings.mail_url)
        mail = LeasedMail(
            7, "anna@example.com", "verify_email", None, 1, 5, None, datetime(2026, 2, 1, tzinfo=UTC), is_expired=False
        )
        await transport.send(Renderer(settings).render(mail, {"username": "anna", "link": LINK}))
        await transport.close()
    ((_, _, body),) = api.calls
    text = json.loads(body)["content"][0]["value"] if body.startswith(b"{") else body.decode()
    assert LINK in text


def with_url(settings: AuthSettings, url: str) -> AuthSettings:
    return AuthSettings(
        database_url=settings.database_url, paseto_secret_key=settings.paseto_secret_key, mail_url=SecretStr(url)
    )


@pytest.mark.parametrize("url", ["ses://eu-west-1", "sendgrid://:key@api.sendgrid.com"])
def test_a_service_is_a_mail_server_for_the_registration(settings: AuthSettings, url: str) -> None:
    changed = with_url(settings, url).model_copy(update={"app_env": "production"})
    assert not changed.discloses_email


@pytest.mark.parametrize("url", ["memory://", "sendgrid://api.sendgrid.com", "mailgun://:s3cret@api.mailgun.net"])
def test_a_service_that_would_lose_mails_is_refused(settings: AuthSettings, url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        with_url(settings, url)
    assert "s3cret" not in str(caught.value)
