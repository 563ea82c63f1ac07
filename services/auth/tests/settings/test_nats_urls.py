"""EVENTS_NATS_URL and what belongs to it: what is accepted, and that no error quotes a password."""

import pytest
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.nats_urls import NatsServers, nats_servers
from pydantic import SecretStr, ValidationError


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("nats://localhost", NatsServers(("nats://localhost:4222",), is_encrypted=False)),
        (
            "tls://kpi:p%40ss@host:4443",
            NatsServers(("tls://host:4443",), is_encrypted=True, user="kpi", password="p@ss"),
        ),
        ("nats://t%2Fken@[::1]:4222/", NatsServers(("nats://[::1]:4222",), is_encrypted=False, token="t/ken")),
        (
            "nats://kpi:pw@a, nats://b:4223",
            NatsServers(("nats://a:4222", "nats://b:4223"), is_encrypted=False, user="kpi", password="pw"),
        ),
    ],
)
def test_addresses_are_taken_apart(url: str, servers: NatsServers) -> None:
    assert nats_servers(url) == servers


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://secret@host",
        "nats://",
        "nats://kpi:sec/ret@host",
        "nats://kpi:secret@host:port",
        "nats://kpi:secret@host/path",
        "nats://kpi:secret@a,tls://kpi:secret@b",
        "nats://kpi:secret@a,nats://kpi:other@b",
        "nats://host?secret=1",
    ],
)
def test_others_are_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r"is needed|different credentials") as caught:
        nats_servers(url)
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("events_nats_stream", "KPI.EVENTS"),
        ("events_nats_stream", ""),
        ("events_nats_subject", "kpi..events"),
        ("events_nats_subject", "kpi.*"),
        ("events_nats_subject", "kpi events"),
        ("events_nats_credentials", SecretStr("-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------")),
        ("events_nats_url", SecretStr("host:4222")),
    ],
)
def test_settings_that_a_server_would_not_accept_are_refused(name: str, value: object, secret_key: str) -> None:
    given = {"database_url": "postgresql://u:p@h/d", "paseto_secret_key": secret_key, name: value}
    with pytest.raises(ValidationError, match=name):
        AuthSettings.model_validate(given)
