"""What OAuth2 libraries and generators of clients rely on at the token endpoints (RFC 6749, RFC 7009, RFC 8693)."""

from typing import Any

import httpx
import pytest
from auth_support import PASSWORD, Accounts, configured
from fastapi import FastAPI
from kpi_auth.app import create_app
from kpi_auth.settings import AuthSettings

FORM = "application/x-www-form-urlencoded"
TOKEN_PATHS = ["/auth/login", "/auth/refresh", "/auth/revoke", "/auth/exchange"]
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"

# Each refusal: the path, the form, the status, and the code that a library reports.
REFUSALS: list[tuple[str, Any, int, str]] = [
    ("/auth/login", {"username": "anna", "password": "wrong"}, 401, "invalid_grant"),
    ("/auth/login", {"username": "unknown", "password": PASSWORD}, 401, "invalid_grant"),
    ("/auth/login", {"username": "anna"}, 422, "invalid_request"),
    ("/auth/login", {"username": "anna", "password": ""}, 422, "invalid_request"),
    ("/auth/login", {"username": "anna", "email": "anna@example.com", "password": "x"}, 422, "invalid_request"),
    ("/auth/login", {"username": ["anna", "ben"], "password": PASSWORD}, 422, "invalid_request"),
    ("/auth/login", {f"p{n}": "x" for n in range(21)}, 400, "invalid_request"),
    ("/auth/login", {"grant_type": "client_credentials"}, 422, "unsupported_grant_type"),
    ("/auth/login", {"grant_type": "authorization_code", "code": "x"}, 422, "unsupported_grant_type"),
    ("/auth/login", {"grant_type": "refresh_token", "refresh_token": "x"}, 401, "invalid_grant"),
    ("/auth/login", {"grant_type": "refresh_token"}, 422, "invalid_request"),
    ("/auth/refresh", {"refresh_token": "x"}, 401, "invalid_grant"),
    ("/auth/refresh", {}, 422, "invalid_request"),
    ("/auth/refresh", {"refresh_token": "x", "grant_type": "password"}, 422, "unsupported_grant_type"),
    ("/auth/refresh", {"refresh_token": ["x", "y"]}, 422, "invalid_request"),
    ("/auth/revoke", {"token_type_hint": "access_token"}, 422, "invalid_request"),
    ("/auth/revoke", {"token": ""}, 422, "invalid_request"),
    ("/auth/exchange", {"grant_type": EXCHANGE}, 400, "invalid_request"),
    ("/auth/exchange", {"grant_type": "password"}, 400, "unsupported_grant_type"),
    (
        "/auth/exchange",
        {"grant_type": EXCHANGE, "subject_token": "x", "subject_token_type": JWT},
        400,
        "invalid_request",
    ),
]


def assert_refused(response: httpx.Response, status: int, error: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["error"] == error
    assert set(problem) >= {"type", "title", "status", "detail", "instance"}


@pytest.mark.parametrize(("path", "form", "status", "error"), REFUSALS, ids=str)
async def test_a_refusal_has_an_oauth_error_code(
    client: httpx.AsyncClient, accounts: Accounts, path: str, form: dict[str, Any], status: int, error: str
) -> None:
    await accounts.add("anna")
    headers = {"Content-Type": FORM}
    assert_refused(await client.post(path, data=form, headers=headers), status, error)


@pytest.mark.parametrize("path", ["/auth/login", "/auth/refresh", "/auth/revoke"])
@pytest.mark.parametrize("body", [b"{", b"[1]", b"null", b'"text"'])
async def test_json_that_is_no_request_has_an_oauth_error_code(
    client: httpx.AsyncClient, path: str, body: bytes
) -> None:
    response = await client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert_refused(response, 422, "invalid_request")


@pytest.mark.parametrize("path", ["/auth/login", "/auth/refresh", "/auth/revoke"])
async def test_a_wrong_media_type_has_an_oauth_error_code(client: httpx.AsyncClient, path: str) -> None:
    for headers in ({}, {"Content-Type": "text/plain"}):
        assert_refused(await client.post(path, content=b"x", headers=headers), 415, "invalid_request")


async def test_limits_have_an_oauth_error_code(client: httpx.AsyncClient, app: FastAPI) -> None:
    wrong = {"username": "unknown", "password": "wrong"}
    exchange = {"grant_type": EXCHANGE, "subject_token": "x", "subject_token_type": JWT}
    with configured(app, failures_per_address=1):
        for path, form in (("/auth/login", wrong), ("/auth/exchange", exchange)):
            await client.post(path, data=form)
            assert_refused(await client.post(path, data=form), 429, "temporarily_unavailable")


async def test_other_errors_have_no_oauth_error_code(client: httpx.AsyncClient) -> None:
    assert "error" not in (await client.get("/auth/me")).json()
    assert "error" not in (await client.post("/users", json={})).json()


@pytest.mark.parametrize("form", ["data", "json"])
async def test_the_token_url_takes_a_refresh_token(client: httpx.AsyncClient, accounts: Accounts, form: str) -> None:
    anna = await accounts.add("anna")
    body = {"grant_type": "refresh_token", "refresh_token": anna.refresh_token, "client_id": "a-client"}
    response = await client.post("/auth/login", **{form: body})  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    tokens = response.json()
    assert tokens["refresh_token"] != anna.refresh_token
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await client.get("/auth/me", headers=headers)).json()["username"] == "anna"


async def test_a_parameter_without_a_value_is_treated_as_omitted(client: httpx.AsyncClient, accounts: Accounts) -> None:
    await accounts.add("anna")
    form = {"username": "anna", "email": "", "password": PASSWORD, "grant_type": "", "scope": ""}
    assert (await client.post("/auth/login", data=form)).status_code == 200


async def test_the_older_address_takes_json(client: httpx.AsyncClient, accounts: Accounts) -> None:
    await accounts.add("anna")
    response = await client.post("/auth/login/json", json={"username": "anna", "password": PASSWORD})
    assert (response.status_code, response.json()["username"]) == (200, "anna")
    refused = await client.post("/auth/login/json", json={"username": "anna", "password": "wrong"})
    assert_refused(refused, 401, "invalid_grant")


def test_token_endpoints_have_one_media_type_and_named_schemas(settings: AuthSettings) -> None:
    document = create_app(settings).openapi()
    schemas = document["components"]["schemas"]
    named = {}
    for path in TOKEN_PATHS:
        operation = document["paths"][path]["post"]
        content = operation["requestBody"]["content"]
        assert list(content) == [FORM], path
        named[path] = content[FORM]["schema"]["$ref"].removeprefix("#/components/schemas/")
        for status, response in operation["responses"].items():
            problem = response.get("content", {}).get("application/problem+json")
            assert int(status) < 400 or problem == {"schema": {"$ref": "#/components/schemas/OAuthProblem"}}, status
    assert list(named.values()) == ["Credentials", "Refresh", "Revocation", "TokenExchange"]
    choices = [choice["$ref"].rpartition("/")[2] for choice in schemas["Credentials"]["oneOf"]]
    assert [schemas[choice]["required"] for choice in choices] == [["username", "password"], ["email", "password"]]
    assert schemas["Revocation"]["properties"]["token_type_hint"]["type"] == "string"
    assert "error" in schemas["OAuthProblem"]["required"]
    assert "content" not in document["paths"]["/auth/revoke"]["post"]["responses"]["200"]


def test_the_document_says_where_to_refresh(settings: AuthSettings) -> None:
    schemes = create_app(settings).openapi()["components"]["securitySchemes"]
    flow = schemes["password"]["flows"]["password"]
    assert (flow["tokenUrl"], flow["refreshUrl"]) == ("/auth/login", "/auth/refresh")
