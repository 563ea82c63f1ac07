"""Which tokens the service accepts, on a protected route and on routes where a token is optional."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from content_support import Caller, assert_problem
from fastapi import FastAPI
from kpi_content.settings import ContentSettings
from kpi_shared.caller import Role
from kpi_shared.tokens import TokenCodec
from kpi_shared.tokens import codec as tokens_module
from pydantic import SecretStr

OLD, NEW = ("".join(f"{number:02x}" for number in range(first, first + 32)) for first in (2, 101))


def codec(settings: ContentSettings, **other: Any) -> TokenCodec:
    return TokenCodec.of(settings.model_copy(update=other))


def mint(tokens: TokenCodec, *, minutes: int = 5) -> str:
    return tokens.mint(user_id=5, username="eve", role=Role.USER, session_id="1", lifetime=timedelta(minutes=minutes))


async def is_accepted(client: httpx.AsyncClient, value: str) -> bool:
    """Whether this Authorization is accepted; if it is not, every route must refuse it in the same way."""
    headers = {"Authorization": value}
    responses = [
        await client.post("/posts", json={"title": "x", "content": ""}, headers=headers),
        await client.get("/posts", headers=headers),
        await client.get("/posts/1", headers=headers),
    ]
    if responses[0].status_code == 201:
        return True
    for response in responses:
        assert_problem(response, 401, "unauthenticated")
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    return False


async def test_a_valid_token_is_accepted(client: httpx.AsyncClient, tokens: TokenCodec) -> None:
    assert await is_accepted(client, f"Bearer {mint(tokens)}")
    assert await is_accepted(client, f"bearer {mint(tokens)}")


async def test_expired_foreign_and_early_tokens_do_not(
    client: httpx.AsyncClient, settings: ContentSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not await is_accepted(client, f"Bearer {mint(codec(settings), minutes=-1)}")
    assert not await is_accepted(client, f"Bearer {mint(codec(settings, token_audience='other'))}")
    assert not await is_accepted(client, f"Bearer {mint(codec(settings, token_issuer='other'))}")

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(minutes=2)

    with monkeypatch.context() as patch:
        patch.setattr(tokens_module, "datetime", Later)
        early = mint(codec(settings))
    assert datetime.now(UTC) < Later.now(UTC)
    assert not await is_accepted(client, f"Bearer {early}")


async def test_a_token_that_was_touched_anywhere_does_not_count(client: httpx.AsyncClient, tokens: TokenCodec) -> None:
    token = mint(tokens)
    for at, letter in enumerate(token):
        other = "A" if letter != "A" else "B"
        response = await client.get(
            "/posts/1", headers={"Authorization": f"Bearer {token[:at]}{other}{token[at + 1 :]}"}
        )
        assert response.status_code == 401, at


@pytest.mark.parametrize("form", ["{}=", "{}==", "{}.", "{} x", "x{}", "{}\t", "{0},{0}", "{0}{0}"])
async def test_other_spellings_of_a_token_are_refused(client: httpx.AsyncClient, tokens: TokenCodec, form: str) -> None:
    assert not await is_accepted(client, f"Bearer {form.format(mint(tokens))}")


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Basic YTpi", "v4.local.AAAA", "Bearer v4.local.", "Bearer \xff"]
)
async def test_headers_without_a_token_are_refused(client: httpx.AsyncClient, value: str) -> None:
    headers = [(b"Authorization", value.encode("latin-1"))]
    for path in ("/posts", "/posts/1"):
        response = await client.get(path, headers=headers)
        assert_problem(response, 401, "unauthenticated")


async def test_two_authorizations_are_refused(client: httpx.AsyncClient, tokens: TokenCodec) -> None:
    header = ("Authorization", f"Bearer {mint(tokens)}")
    assert_problem(await client.get("/posts", headers=[header, header]), 401, "unauthenticated")


@pytest.mark.parametrize("session", ["", "0", "-1", "01", "x", "xUe0bLk9f3aQ", str(2**63), "\u0967"])
async def test_a_token_of_no_session_of_auth_is_refused(
    client: httpx.AsyncClient, tokens: TokenCodec, session: str
) -> None:
    """The key alone does not make a token that this service accepts: its session has the form of auth's sessions."""
    token = tokens.mint(user_id=5, username="eve", role=Role.USER, session_id=session, lifetime=timedelta(minutes=5))
    response = await client.get("/posts/1", headers={"Authorization": f"Bearer {token}"})
    assert_problem(response, 401, "unauthenticated")
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


async def test_a_previous_key_is_accepted_and_a_retired_one_is_not(
    client: httpx.AsyncClient, app: FastAPI, settings: ContentSettings
) -> None:
    old = codec(settings, paseto_secret_key=SecretStr(OLD))
    rotated = codec(settings, paseto_secret_key=SecretStr(NEW), paseto_previous_keys=(SecretStr(OLD),))
    retired = codec(settings, paseto_secret_key=SecretStr(NEW))
    app.state.tokens = rotated
    assert await is_accepted(client, f"Bearer {mint(old)}")
    assert await is_accepted(client, f"Bearer {mint(rotated)}")
    app.state.tokens = retired
    assert not await is_accepted(client, f"Bearer {mint(old)}")
    assert await is_accepted(client, f"Bearer {mint(rotated)}")


async def test_no_other_header_says_who_calls(client: httpx.AsyncClient, anna: Caller) -> None:
    headers = {
        "X-User-Id": "11",
        "X-Forwarded-User": "anna",
        "X-Role": "admin",
        "Cookie": anna.headers["Authorization"],
    }
    response = await client.post("/posts", json={"title": "x", "content": ""}, headers=headers)
    assert_problem(response, 401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="kpi-one"'
