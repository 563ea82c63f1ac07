"""The settings of auth's feed: both or none, and addresses only."""

import pytest
from feed_stand_in import KEY
from kpi_content.settings import ContentSettings
from kpi_shared.feed.settings import NO_FEED
from kpi_shared.settings import Environment, SettingsError


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, secret_key: str) -> pytest.MonkeyPatch:
    monkeypatch.setenv("DATABASE_URL", "postgresql://content:x1y2@127.0.0.1/content")
    monkeypatch.setenv("PASETO_SECRET_KEY", secret_key)
    return monkeypatch


def test_several_addresses_are_read(given: pytest.MonkeyPatch) -> None:
    given.setenv("AUTH_INTERNAL_URL", "http://auth1:8011/, https://auth2,http://[::1]:8011,http://auth1:8011")
    given.setenv("FEED_KEY", KEY)
    settings = ContentSettings.load()
    assert settings.auth_internal_url == ("http://auth1:8011", "https://auth2", "http://[::1]:8011")
    assert settings.has_feed
    assert KEY not in repr(settings)


def test_without_the_feed_the_check_says_what_that_means(given: pytest.MonkeyPatch) -> None:
    settings = ContentSettings.load()
    assert [(each["ok"], each["detail"]) for each in settings.findings if each["check"] == "feed"] == [(True, NO_FEED)]
    in_production = settings.model_copy(update={"app_env": Environment.PRODUCTION})
    assert [each["detail"] for each in in_production.findings if each["check"] == "feed"] == [NO_FEED]


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("http://auth:8011", None),
        (None, KEY),
        ("http://auth:8011", "short"),
        *((address, KEY) for address in ("auth:8011", "ftp://auth", "http://", "http://a:99999", "http://a/path")),
        *((address, KEY) for address in ("http://user:pass@auth", "http://auth?x=1")),
    ],
)
def test_other_settings_are_refused(given: pytest.MonkeyPatch, address: str | None, key: str | None) -> None:
    for name, value in (("AUTH_INTERNAL_URL", address), ("FEED_KEY", key)):
        if value is not None:
            given.setenv(name, value)
    with pytest.raises(SettingsError, match=r"AUTH_INTERNAL_URL|FEED_KEY"):
        ContentSettings.load()
