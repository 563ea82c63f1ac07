"""Each service works independently of the others."""

import os
import secrets
from pathlib import Path

import httpx
import pytest
from kpi_shared.testing.process import start_part
from stack import PASSWORD, Stack, join, run_stack, service_settings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="these tests stop and start parts of their own"),
]


@pytest.fixture
def own(worker: str, secret_key: str) -> dict[str, dict[str, str]]:
    """Settings of a stack that this test may stop and start."""
    return service_settings(f"own_{worker}", secret_key)


def test_content_works_with_auth_stopped(own: dict[str, dict[str, str]], tmp_path: Path) -> None:
    with run_stack(own, tmp_path) as stack, httpx.Client(base_url=stack.gateway) as client:
        anna = join(client)
    settings = {"AUTH_URL": "http://127.0.0.1:1"}
    with (
        start_part("kpi_content", own["content"], log=tmp_path / "content.log") as content,
        start_part("kpi_gateway", settings | {"CONTENT_URL": content}, log=tmp_path / "gateway.log") as gateway,
        httpx.Client(base_url=gateway) as client,
    ):
        made = client.post("/api/v1/posts", json={"title": "Alone", "content": ""}, headers=anna.headers)
        assert made.status_code == 201
        assert client.get("/api/v1/posts").json()["items"][0]["title"] == "Alone"
        vote = {"post_id": made.json()["id"], "direction": 1}
        assert client.post("/api/v1/votes", json=vote, headers=anna.headers).json()["votes"] == 1
        refused = client.post("/api/v1/auth/login", json={"username": anna.username, "password": PASSWORD})
        assert refused.status_code == 502
        assert refused.headers["content-type"] == "application/problem+json"


def test_rotating_the_key_fails_no_request(own: dict[str, dict[str, str]], tmp_path: Path) -> None:
    """Every service gets the new key, which then encrypts; tokens of the old key are valid until it is removed."""
    old, new = own["auth"]["PASETO_SECRET_KEY"], secrets.token_hex(32)
    with run_stack(own, tmp_path) as stack, httpx.Client(base_url=stack.gateway) as client:
        anna = join(client)
    rotated = {name: {**values, "PASETO_SECRET_KEY": new, "PASETO_PREVIOUS_KEYS": old} for name, values in own.items()}
    with run_stack(rotated, tmp_path) as stack, httpx.Client(base_url=stack.gateway) as client:
        for path in ("/api/v1/auth/me", "/api/v1/posts?mine=true"):
            assert client.get(path, headers=anna.headers).status_code == 200
        again = client.post("/api/v1/auth/login", json={"username": anna.username, "password": PASSWORD}).json()
        fresh = {"Authorization": f"Bearer {again['access_token']}"}
        assert client.get("/api/v1/posts?mine=true", headers=fresh).status_code == 200
    retired = {name: {**values, "PASETO_SECRET_KEY": new} for name, values in own.items()}
    with run_stack(retired, tmp_path) as stack, httpx.Client(base_url=stack.gateway) as client:
        for path in ("/api/v1/auth/me", "/api/v1/posts?mine=true"):
            refused = client.get(path, headers=anna.headers)
            assert refused.status_code == 401
            assert "invalid_token" in refused.headers["www-authenticate"]
            assert client.get(path, headers=fresh).status_code == 200


def test_a_service_does_not_trust_headers_of_a_gateway(stack: Stack) -> None:
    """A client that reaches a service directly still needs a token, whatever header fields a gateway might set."""
    headers = {"X-Forwarded-For": "127.0.0.1", "X-User-Id": "1", "X-Forwarded-User": "admin"}
    assert httpx.get(f"{stack.content}/posts?mine=true", headers=headers).status_code == 401
    assert httpx.get(f"{stack.auth}/auth/me", headers=headers).status_code == 401


def test_retiring_a_key_of_the_tokens_ends_no_session(own: dict[str, dict[str, str]], tmp_path: Path) -> None:
    """Neither one that did not refresh in the meantime, nor one from before auth had a secret of its own."""
    auth, log = own["auth"], tmp_path / "auth.log"
    old, new, secret = auth["PASETO_SECRET_KEY"], secrets.token_hex(32), secrets.token_hex(32)

    def refresh(client: httpx.Client, token: str) -> str:
        response = client.post("/auth/refresh", json={"refresh_token": token})
        assert response.status_code == 200, response.text
        return str(response.json()["refresh_token"])

    with start_part("kpi_auth", auth, log=log) as address, httpx.Client(base_url=address) as client:
        before, idle_before = join(client, prefix=""), join(client, prefix="")
    with_secret = {**auth, "AUTH_SECRET_KEY": secret}
    with start_part("kpi_auth", with_secret, log=log) as address, httpx.Client(base_url=address) as client:
        refreshed, idle = refresh(client, before.refresh_token), join(client, prefix="")
    retired = {**with_secret, "PASETO_SECRET_KEY": new, "AUTH_PREVIOUS_SECRET_KEYS": old}
    with start_part("kpi_auth", retired, log=log) as address, httpx.Client(base_url=address) as client:
        # The last one needs the retired key, which still stands among the secrets of auth for a while.
        for token in (refreshed, idle.refresh_token, idle_before.refresh_token):
            refresh(client, token)
        assert client.get("/auth/me", headers=idle.headers).status_code == 401
    gone = {**with_secret, "PASETO_SECRET_KEY": new}
    with start_part("kpi_auth", gone, log=log) as address, httpx.Client(base_url=address) as client:
        for token in (refreshed, idle.refresh_token):
            refresh(client, token)
