"""Signing in with an external token: the account that it opens, and the two endpoints."""

import base64
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from auth_support import Accounts
from fastapi import FastAPI
from identity_support import (
    AUDIENCE,
    GRANT,
    KEY,
    SHARED,
    TYPE,
    KeyServer,
    claims,
    exchange,
    key_server,
    me_of,
    shared_token,
    supabase,
    supabase_token,
    token,
    use_providers,
)
from kpi_shared.testing.surface import operations_with_effects, reads_that_write


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server(KEY) as server:
        yield server


@pytest.fixture
async def trusted_providers(app: FastAPI, server: KeyServer) -> AsyncIterator[None]:
    async with use_providers(app, SHARED, supabase(server)):
        yield


# --- The exchange -----------------------------------------------------------------------------------------------------


async def test_an_exchange_gives_a_session_of_ours(client: httpx.AsyncClient, trusted_providers: None) -> None:
    response = await exchange(client, shared_token(preferred_username="Ana"))
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert body["issued_token_type"] == f"{TYPE}access_token"
    assert (body["token_type"], body["username"]) == ("bearer", "Ana")
    assert body["expires_in"] > 0
    refreshed = await client.post("/auth/refresh", json={"refresh_token": body["refresh_token"]})
    assert refreshed.status_code == 200
    assert (await me_of(client, response))["username"] == "Ana"


@pytest.mark.parametrize("kind", ["jwt", "id_token", "access_token"])
async def test_the_standards_optional_parameters_are_accepted(
    client: httpx.AsyncClient, trusted_providers: None, kind: str
) -> None:
    said = {"subject_token_type": f"{TYPE}{kind}", "requested_token_type": f"{TYPE}access_token"}
    more = {"audience": ["kpi-one", "kpi-one"], "resource": "http://127.0.0.1:8000", "scope": "", "client_id": "me"}
    assert (await exchange(client, shared_token(), **said, **more)).status_code == 200


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": None}, "invalid_request"),
        ({"grant_type": [GRANT, GRANT]}, "invalid_request"),
        ({"subject_token": ""}, "invalid_request"),
        ({"subject_token": None}, "invalid_request"),
        ({"subject_token": "made up"}, "invalid_request"),
        ({"subject_token_type": None}, "invalid_request"),
        ({"subject_token_type": f"{TYPE}saml2"}, "invalid_request"),
        ({"requested_token_type": f"{TYPE}saml2"}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"audience": "others"}, "invalid_target"),
        ({"audience": ["kpi-one", "others"]}, "invalid_target"),
        ({"resource": "https://others.example.com"}, "invalid_target"),
    ],
    ids=str,
)
async def test_a_refused_exchange_has_an_oauth_error_code(
    client: httpx.AsyncClient, trusted_providers: None, change: dict[str, Any], error: str
) -> None:
    response = await exchange(client, **{"subject_token": shared_token(), **change})
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert response.json()["error"] == error
    assert response.json()["type"]


async def test_an_exchange_must_be_a_form(client: httpx.AsyncClient, trusted_providers: None) -> None:
    response = await client.post("/auth/exchange", json={"grant_type": GRANT})
    assert (response.status_code, response.json()["error"]) == (415, "invalid_request")


async def test_without_providers_no_token_is_valid(client: httpx.AsyncClient) -> None:
    assert (await exchange(client, shared_token())).json()["type"] == "invalid-foreign-token"
    supabases = await client.get("/auth/verify_supabase_token", headers={"Authorization": f"Bearer {shared_token()}"})
    assert (supabases.status_code, supabases.json()["type"]) == (404, "identity-provider-not-configured")


async def test_a_refusal_is_recorded_without_contents_of_the_token(
    client: httpx.AsyncClient, trusted_providers: None, accounts: Accounts
) -> None:
    await exchange(client, shared_token(subject="evil words", exp=1))
    await exchange(client, shared_token(iss="https://evil.example.com"))
    assert await accounts.events() == ["identity.refused"] * 2
    stored = await accounts.scalar("SELECT json_agg(details ORDER BY id) FROM audit_events")
    assert stored == [{"reason": "invalid-token", "provider": "shared"}, {"reason": "invalid-token"}]


async def test_repeated_refusals_are_limited(client: httpx.AsyncClient, app: FastAPI, accounts: Accounts) -> None:
    async with use_providers(app, SHARED, failures_per_address=3):
        for _ in range(5):
            assert (await exchange(client, shared_token())).status_code == 200
        responses = [(await exchange(client, "made up")).status_code for _ in range(5)]
    assert responses == [400, 400, 400, 429, 429]
    assert await accounts.events() == [*["identity.refused"] * 3, "attempts.throttled"]


async def test_a_provider_that_is_down_is_a_503(
    client: httpx.AsyncClient, trusted_providers: None, server: KeyServer
) -> None:
    server.stop()
    response = await exchange(client, supabase_token(server))
    server.start()
    assert (response.status_code, response.json()["type"]) == (503, "identity-provider-unreachable")
    assert int(response.headers["retry-after"]) > 0
    assert (await exchange(client, shared_token())).status_code == 200


# --- Accounts ---------------------------------------------------------------------------------------------------------


async def test_the_same_identity_is_the_same_account(
    client: httpx.AsyncClient, trusted_providers: None, accounts: Accounts
) -> None:
    first = await me_of(client, await exchange(client, shared_token(email="ana.b@example.com", email_verified=True)))
    # Even if the address changes at the provider.
    again = await me_of(client, await exchange(client, shared_token(email="other@example.com")))
    other = await me_of(client, await exchange(client, shared_token("another")))
    assert first == again
    assert first["username"] == "ana.b"
    assert first["email"] == "ana.b@example.com"
    assert other["id"] != first["id"]
    events = ["user.registered", "identity.linked", "session.started", "session.started"]
    assert await accounts.events(first["id"]) == events


async def test_the_same_subject_at_another_issuer_is_another_account(
    client: httpx.AsyncClient, trusted_providers: None, server: KeyServer
) -> None:
    here = await me_of(client, await exchange(client, shared_token("same")))
    there = await me_of(client, await exchange(client, supabase_token(server, "same")))
    assert here["id"] != there["id"]


@pytest.mark.parametrize("verified_there", [True, False])
@pytest.mark.parametrize("verified_here", [True, False])
async def test_an_address_links_only_when_it_is_verified_on_both_sides(
    client: httpx.AsyncClient, trusted_providers: None, accounts: Accounts, verified_here: bool, verified_there: bool
) -> None:
    ours = await accounts.add("ana", verified=verified_here)
    claim = {"email": "ANA@example.com", "email_verified": verified_there}
    entered = await me_of(client, await exchange(client, shared_token(**claim)))
    is_linked = verified_here and verified_there
    assert (entered["id"] == ours.id) is is_linked
    told = [(mail.template, mail.values) for mail in await accounts.mails("ana@example.com")]
    assert (("identity_linked", {"username": "ana", "provider": "shared"}) in told) is is_linked
    assert ("identity.linked" in await accounts.events(ours.id)) is is_linked


async def test_an_account_that_is_linked_keeps_its_password_and_role(
    client: httpx.AsyncClient, trusted_providers: None, accounts: Accounts
) -> None:
    ours = await accounts.add_admin("ana")
    claim = {"email": "ana@example.com", "email_verified": True, "role": "user"}
    entered = await me_of(client, await exchange(client, shared_token(**claim)))
    assert (entered["id"], entered["role"]) == (ours.id, "admin")
    assert (await accounts.enter("ana")).id == ours.id


async def test_a_role_in_an_external_token_is_ignored(client: httpx.AsyncClient, trusted_providers: None) -> None:
    entered = await me_of(client, await exchange(client, shared_token(role="admin", app_metadata={"role": "admin"})))
    assert entered["role"] == "user"


async def _read_stored(accounts: Accounts, user_id: int) -> tuple[object, ...]:
    statement = """
        SELECT json_build_array(email, email_signs_in, email_verified_at IS NOT NULL, password_hash IS NULL)
        FROM users WHERE id = :id
    """
    row = await accounts.scalar(statement, id=user_id)
    assert isinstance(row, list)
    return tuple(row)


@pytest.mark.parametrize("verified_there", [True, False])
@pytest.mark.parametrize(("is_held", "tells"), [(False, False), (True, False), (True, True)])
async def test_the_email_address_of_a_new_account(
    client: httpx.AsyncClient, app: FastAPI, accounts: Accounts, verified_there: bool, is_held: bool, tells: bool
) -> None:
    if is_held:
        holder = await accounts.add("holder", verified=False)
        await accounts.execute(
            "UPDATE users SET email = 'ana@example.com', email_signs_in = true WHERE id = :id", id=holder.id
        )
    async with use_providers(app, SHARED, registration_tells_email=tells):
        claim = {"email": "ana@example.com", "email_verified": verified_there}
        entered = await me_of(client, await exchange(client, shared_token(**claim)))
    is_own = verified_there and not is_held
    address = None if is_held and tells else "ana@example.com"
    assert await _read_stored(accounts, entered["id"]) == (address, is_own, is_own, True)


async def test_usernames_are_made_valid_and_unique(
    client: httpx.AsyncClient, trusted_providers: None, accounts: Accounts
) -> None:
    await accounts.add("Ana")
    wanted = {"ana": "ana", "Žofia Nová": "ZofiaNova", "名前": "user", "x": "user", "n" * 200: "n" * 32}
    for number, (name, start) in enumerate(wanted.items()):
        entered = await me_of(client, await exchange(client, shared_token(f"s{number}", preferred_username=name)))
        assert entered["username"].startswith(start[:22])
        assert len(entered["username"]) <= 32
        assert entered["username"].lower() != "ana"


@pytest.mark.parametrize("is_deleted", [True, False])
@pytest.mark.parametrize("is_linked", [True, False])
async def test_an_external_identity_does_not_open_a_closed_account(
    client: httpx.AsyncClient, trusted_providers: None, accounts: Accounts, is_deleted: bool, is_linked: bool
) -> None:
    ours = await accounts.add("ana")
    good = shared_token(email="ana@example.com", email_verified=True)
    if is_linked:
        assert (await exchange(client, good)).status_code == 200
    close = "UPDATE users SET is_active = false, deleted_at = CASE WHEN :is_deleted THEN now() END WHERE id = :id"
    await accounts.execute(close, id=ours.id, is_deleted=is_deleted)
    refused = await exchange(client, good)
    assert (refused.status_code, refused.json()["type"]) == (400, "invalid-foreign-token")
    assert await accounts.scalar("SELECT count(*) FROM users") == 1
    assert await accounts.events() == ["identity.refused"]
    stored = await accounts.scalar("SELECT details FROM audit_events WHERE event = 'identity.refused'")
    assert stored == {"reason": "closed", "provider": "shared"}


async def test_closed_registration_creates_no_account_and_keeps_linked_ones(
    client: httpx.AsyncClient, app: FastAPI, accounts: Accounts
) -> None:
    async with use_providers(app, SHARED):
        assert (await exchange(client, shared_token("known"))).status_code == 200
    await accounts.add("ana")
    async with use_providers(app, SHARED, registration="closed"):
        refused = await exchange(client, shared_token("new"))
        known = await exchange(client, shared_token("known"))
        linked = await exchange(client, shared_token("ana", email="ana@example.com", email_verified=True))
    assert (refused.status_code, refused.json()["type"]) == (403, "registration-closed")
    assert (known.status_code, linked.status_code) == (200, 200)
    assert await accounts.scalar("SELECT count(*) FROM users") == 2


# --- Supabase ---------------------------------------------------------------------------------------------------------


async def _verify(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.get(
        "/auth/verify_supabase_token", headers={name.replace("__", "-"): value for name, value in headers.items()}
    )


async def test_supabases_token_opens_a_session(
    client: httpx.AsyncClient, trusted_providers: None, server: KeyServer, app: FastAPI
) -> None:
    good = supabase_token(server, email="ana@example.com", user_metadata={"email_verified": True})
    response = await _verify(client, Authorization=f"Bearer {good}")
    assert response.status_code == 200, response.text
    body = response.json()
    assert response.headers["cache-control"] == "no-store"
    assert body["user"] == {"id": (await me_of(client, response))["id"], "email": "ana@example.com"}
    assert body["token"] == body["access_token"]
    assert body["message"]
    assert app.state.tokens.verify(body["token"]).expires_at.isoformat().replace("+00:00", "Z") == body["expires_at"]
    assert (await client.post("/auth/refresh", json={"refresh_token": body["refresh_token"]})).status_code == 200


async def test_head_opens_no_session(
    client: httpx.AsyncClient, trusted_providers: None, server: KeyServer, accounts: Accounts, app: FastAPI
) -> None:
    good = supabase_token(server, email="ana@example.com", user_metadata={"email_verified": True})
    for path in ("/auth/verify_supabase_token", "/auth/verify_supabase_token/"):
        response = await client.head(path, headers={"Authorization": f"Bearer {good}"})
        assert (response.status_code, response.headers["allow"]) == (405, "GET")
    assert await accounts.scalar("SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM users)") == 0
    document, headers = app.openapi(), {"Authorization": f"Bearer {good}"}
    writing = await reads_that_write(client, app.state.database, document, path=defaultdict(int), headers=headers)
    assert writing == operations_with_effects(document) == {"GET /auth/verify_supabase_token"}


def _encode(session: object) -> str:
    return "base64-" + base64.urlsafe_b64encode(json.dumps(session).encode()).decode().rstrip("=")


def _cookies(name: str, value: str, *, size: int) -> str:
    chunks = [value[start : start + size] for start in range(0, len(value), size)]
    return "; ".join(f"{name}.{number}={chunk}" for number, chunk in enumerate(chunks))


@pytest.mark.parametrize(
    "form",
    ["raw", "object", "array", "text", "encoded object", "encoded array", "base64", "encoded base64", "chunks"],
)
@pytest.mark.parametrize("ref", ["127", "abcdefghijklmnop"])
async def test_supabases_cookie_opens_a_session(
    client: httpx.AsyncClient, trusted_providers: None, server: KeyServer, form: str, ref: str
) -> None:
    good = supabase_token(server, "cookie", email="ana@example.com")
    session = {"access_token": good, "refresh_token": "r", "user": {"email": "ana@example.com"}}
    values = {
        "raw": good,
        "object": json.dumps(session, separators=(",", ":")),
        "array": json.dumps([good, "r", None], separators=(",", ":")),
        "text": json.dumps(good),
        "encoded object": quote(json.dumps(session), safe=""),
        "encoded array": quote(json.dumps([good, "r"]), safe=""),
        "base64": _encode(session),
        "encoded base64": quote(_encode(session), safe=""),
    }
    name = f"sb-{ref}-auth-token"
    cookie = f"{name}={values[form]}" if form in values else _cookies(name, _encode(session), size=100)
    response = await _verify(client, Cookie=f"theme=dark; {cookie}")
    assert response.status_code == 200, response.text
    if form in values:
        assert (await client.get("/auth/verify_supabase_token", headers={name: values[form]})).status_code == 200


async def test_the_cookie_of_the_configured_project_takes_precedence(
    client: httpx.AsyncClient, trusted_providers: None, server: KeyServer
) -> None:
    good = supabase_token(server)
    response = await _verify(client, Cookie=f"sb-other-auth-token=made-up; sb-127-auth-token={good}")
    assert response.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer made-up"},
        {"Cookie": "sb-127-auth-token="},
        {"Cookie": "sb-127-auth-token=base64-!!!"},
        {"Cookie": "sb-127-auth-token=base64-_w"},
        {"Cookie": "sb-127-auth-token=[]"},
        {"Cookie": "sb-127-auth-token={}"},
        {"Cookie": "sb-127-auth-token=%7B%22access_token%22:5%7D"},
        {"Cookie": "sb-127-auth-token=" + "%5B" * 3000},
        {"Cookie": "sb-127-auth-token=%ff%fe"},
        {"Cookie": "sb-127-auth-token=" + "a" * 70_000},
        {"Cookie": "sb-127-auth-token.1=late"},
    ],
    ids=lambda headers: str(headers)[:40],
)
async def test_a_malformed_supabase_token_is_refused(
    client: httpx.AsyncClient, trusted_providers: None, headers: dict[str, str]
) -> None:
    response = await _verify(client, **headers)
    assert (response.status_code, response.json()["type"]) == (401, "invalid-foreign-token")
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_another_providers_token_is_not_supabases(client: httpx.AsyncClient, trusted_providers: None) -> None:
    assert (await exchange(client, shared_token())).status_code == 200
    assert (await _verify(client, Authorization=f"Bearer {shared_token()}")).status_code == 401


async def test_another_audience_is_refused(
    client: httpx.AsyncClient, trusted_providers: None, server: KeyServer
) -> None:
    wrong = token(KEY, claims(server.issuer, aud=AUDIENCE))
    assert (await _verify(client, Authorization=f"Bearer {wrong}")).status_code == 401
