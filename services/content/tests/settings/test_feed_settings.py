"""What ``check`` reports about the feed of auth."""

import secrets

import pytest
from kpi_content.settings import ContentSettings
from kpi_shared.settings import Environment
from pydantic import SecretStr

URL = SecretStr("postgresql://kpi:a-password@127.0.0.1:9/kpi")


@pytest.mark.parametrize("environment", Environment)
def test_check_reports_that_content_does_not_follow_auth(environment: Environment) -> None:
    base = {"database_url": URL, "paseto_secret_key": SecretStr(secrets.token_hex(32)), "app_env": environment}
    feed = {"auth_internal_url": "http://auth:8011", "feed_key": secrets.token_hex(32)}
    both = (ContentSettings.model_validate(values).findings for values in (base, base | feed))
    missing, present = (next(each for each in found if each["check"] == "feed") for found in both)
    assert (missing["ok"], present["ok"]) == (environment is not Environment.PRODUCTION, True)
    assert "AUTH_INTERNAL_URL and FEED_KEY are not set" in str(missing["detail"])
