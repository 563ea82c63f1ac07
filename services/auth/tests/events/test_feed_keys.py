"""Each key of the internal port opens its own paths."""

import json
import secrets
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from kpi_auth.internal import create_internal_app
from kpi_auth.settings import AuthSettings
from kpi_shared.database import Database
from kpi_shared.settings import SettingsError
from kpi_shared.testing.client import client_of
from kpi_shared.testing.process import run_command
from pydantic import SecretStr

FEED = ["/internal/feed/revocations", "/internal/feed/events/page?after=0", "/internal/feed/accounts"]
STREAM = "/internal/feed/events?after=0"
KEYS = ["/internal/api-keys/exchange", "/internal/api-keys/exchanges", "/internal/api-keys/uses"]


@pytest.fixture
async def internal(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_internal_app(app)) as client:
        yield client


def bearer(key: SecretStr | None) -> dict[str, str]:
    assert key is not None
    return {"Authorization": f"Bearer {key.get_secret_value()}"}


@pytest.mark.parametrize("path", [*FEED, STREAM, *KEYS, "/internal/feed", "/internal/api-keys", "/internal/other"])
async def test_no_path_opens_without_a_key(internal: httpx.AsyncClient, settings: AuthSettings, path: str) -> None:
    wrong = {"Authorization": f"Bearer {secrets.token_hex(32)}"}
    empty = {"Authorization": "Bearer "}
    for headers in ({}, wrong, empty, {"Authorization": bearer(settings.feed_key)["Authorization"][7:]}):
        response = await internal.post(path, headers=headers)
        assert (response.status_code, response.json()["type"]) == (401, "internal-key-required")


@pytest.mark.parametrize("path", FEED)
async def test_the_feed_opens_with_its_own_key_only(
    internal: httpx.AsyncClient, settings: AuthSettings, path: str
) -> None:
    assert (await internal.get(path, headers=bearer(settings.feed_key))).status_code == 200
    assert (await internal.get(path, headers=bearer(settings.internal_key))).status_code == 401


async def test_the_stream_does_not_open_with_the_other_key(internal: httpx.AsyncClient, settings: AuthSettings) -> None:
    assert (await internal.get(STREAM, headers=bearer(settings.internal_key))).status_code == 401


@pytest.mark.parametrize("path", KEYS)
async def test_the_exchange_opens_with_its_own_key_only(
    internal: httpx.AsyncClient, settings: AuthSettings, path: str
) -> None:
    # The body is not valid, which is found out behind the key.
    assert (await internal.post(path, json=[], headers=bearer(settings.internal_key))).status_code == 422
    assert (await internal.post(path, json=[], headers=bearer(settings.feed_key))).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        *("%2Finternal/api-keys/uses", "/internal%2Fapi-keys/uses", "//internal/api-keys/uses"),
        *("/internal/feed%2F..%2Fapi-keys/uses", "/internal/feed/%2e%2e/api-keys/uses", "/INTERNAL/API-KEYS/uses"),
    ],
)
async def test_no_spelling_of_a_path_opens_it_with_the_other_key(
    internal: httpx.AsyncClient, settings: AuthSettings, path: str
) -> None:
    assert (await internal.post(path, json=[], headers=bearer(settings.feed_key))).status_code in {401, 404}


async def test_without_a_key_the_feed_stays_closed(app: FastAPI, settings: AuthSettings) -> None:
    changed = FastAPI()
    changed.state = app.state
    before, app.state.settings = app.state.settings, settings.model_copy(update={"feed_key": None})
    try:
        async with client_of(create_internal_app(changed)) as client:
            for key in ("", "None", settings.feed_key.get_secret_value() if settings.feed_key else ""):
                response = await client.get(FEED[0], headers={"Authorization": f"Bearer {key}"})
                assert response.status_code == 401
    finally:
        app.state.settings = before


async def test_a_former_key_opens_the_feed_while_it_is_replaced(app: FastAPI, settings: AuthSettings) -> None:
    new, former, internal = (SecretStr(secrets.token_hex(32)) for _ in range(3))
    changes = {"feed_key": new, "feed_previous_keys": (former,), "internal_key": internal}
    before, app.state.settings = app.state.settings, settings.model_copy(update=changes)
    try:
        async with client_of(create_internal_app(app)) as client:
            for key, status in ((new, 200), (former, 200), (settings.feed_key, 401), (internal, 401)):
                assert (await client.get(FEED[0], headers=bearer(key))).status_code == status
            assert (await client.post(KEYS[0], json=[], headers=bearer(former))).status_code == 401
    finally:
        app.state.settings = before


@pytest.mark.parametrize(("has_key", "reason"), [(True, "must differ from INTERNAL_KEY"), (False, "set FEED_KEY too")])
def test_former_keys_that_open_too_much_or_stand_alone_are_refused(
    settings: AuthSettings, monkeypatch: pytest.MonkeyPatch, has_key: bool, reason: str
) -> None:
    internal, former = secrets.token_hex(32), secrets.token_hex(32)
    given = {"PASETO_SECRET_KEY": secrets.token_hex(32), "INTERNAL_KEY": internal}
    given["FEED_PREVIOUS_KEYS"] = f"{former},{internal}" if has_key else former
    given |= {"FEED_KEY": secrets.token_hex(32)} if has_key else {}
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"FEED_PREVIOUS_KEYS: {reason}") as caught:
        AuthSettings.load()
    assert internal not in str(caught.value)


def test_the_keys_must_differ(settings: AuthSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("PASETO_SECRET_KEY", secrets.token_hex(32))
    key = secrets.token_hex(32)
    monkeypatch.setenv("INTERNAL_KEY", key)
    monkeypatch.setenv("FEED_KEY", secrets.token_hex(32))
    AuthSettings.load()
    monkeypatch.setenv("FEED_KEY", key)
    with pytest.raises(SettingsError, match="FEED_KEY: must differ from INTERNAL_KEY") as caught:
        AuthSettings.load()
    assert key not in str(caught.value)


@pytest.mark.parametrize("name", ["LISTEN_DATABASE_URL", "EVENTS_KEEP_DAYS", "FEED_KEY"])
def test_settings_that_are_wrong_are_named(settings: AuthSettings, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("PASETO_SECRET_KEY", secrets.token_hex(32))
    monkeypatch.setenv(name, "-1")
    with pytest.raises(SettingsError, match=name):
        AuthSettings.load()


async def test_the_status_of_events(database: Database, quiet_settings: AuthSettings, secret_key: str) -> None:
    address = quiet_settings.database_url.get_secret_value()
    environment = {"DATABASE_URL": address, "PASETO_SECRET_KEY": secret_key}
    given = '{"username": "anna", "created_at": null}\n'
    run_command("kpi_auth", "import-users", settings=environment, given=given)
    status = json.loads(run_command("kpi_auth", "events-status", settings=environment))
    assert (status["waiting"], status["deleted_to"]) == (1, 0)
    assert status["waiting_seconds"] > 0
