"""What the API document shows is accepted: each example of a request body, and each default when it is sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from auth_support import Account, Accounts
from kpi_auth.app import create_app
from kpi_auth.settings import AuthSettings
from kpi_shared.testing.database import restart_ids
from kpi_shared.testing.examples import Examples
from kpi_shared.testing.surface import Ids

FORM = "application/x-www-form-urlencoded"
# The examples are sent after the one of the registration, so that its user exists and is signed in. A code or a token
# of another request cannot be in an example: these are well-formed, and are refused as unknown.
STATUSES = {
    "POST /users": {409},
    "POST /auth/register": {409},
    "POST /auth/login": {200},
    "POST /auth/refresh": {401},
    "POST /auth/revoke": {200},
    "POST /auth/logout": {204},
    "POST /auth/exchange": {400},
    "POST /auth/change-password": {204},
    "POST /auth/forgot-password": {202},
    "POST /auth/reset-password": {400},
    "POST /auth/verify-email": {400},
    "POST /auth/resend-verification": {202},
    "POST /auth/change-email": {202},
    "PUT /users/{user_id}": {200},
    "PATCH /users/{user_id}": {200},
    "DELETE /users/{user_id}": {204},
    "POST /api-keys": {201},
    "PATCH /api-keys/{key_id}": {200},
    "POST /api-keys/{key_id}/rotate": {201},
    "POST /api-keys/self/revoke": {401},
    "POST /webhooks": {201},
    "PATCH /webhooks/{webhook_id}": {200},
    "POST /webhooks/{webhook_id}/rotate-secret": {200},
    "POST /webhooks/{webhook_id}/replay": {202},
    "POST /bootstrap": {403},
}
# The refusals among them are for the user that exists already, and for the code or token.
REFUSALS = {
    "POST /users": "username-taken",
    "POST /auth/register": "username-taken",
    "POST /auth/refresh": "invalid-refresh-token",
    "POST /auth/exchange": "invalid-foreign-token",
    "POST /auth/reset-password": "invalid-code",
    "POST /auth/verify-email": "invalid-code",
    "POST /api-keys/self/revoke": "invalid-api-key",
    "POST /bootstrap": "invalid-bootstrap-code",
}


@dataclass(frozen=True)
class Operation:
    """An operation with a request body; ``defaults`` are the documented ones of its optional fields."""

    name: str
    media_type: str
    examples: list[dict[str, Any]]
    defaults: dict[str, Any]

    async def send(self, client: httpx.AsyncClient, caller: Account, body: dict[str, Any]) -> httpx.Response:
        method, _, path = self.name.partition(" ")
        content: dict[str, Any] = {"data" if self.media_type == FORM else "json": body}
        # A token in the header field of these is not used, except by those for signed-in callers.
        key_id = await self._add_key(client, caller) if "key_id" in path else None
        webhook_id = await self._add_webhook(client, caller) if "webhook_id" in path else None
        address = path.format(user_id=caller.id, key_id=key_id, webhook_id=webhook_id)
        return await client.request(method, address, headers=caller.headers, **content)

    async def _add_key(self, client: httpx.AsyncClient, caller: Account) -> int:
        created = await client.post("/api-keys", json={"name": "x", "scopes": "read"}, headers=caller.headers)
        assert created.status_code == 201, created.text
        return int(created.json()["id"])

    async def _add_webhook(self, client: httpx.AsyncClient, caller: Account) -> int:
        created = await client.post("/webhooks", json={"url": "https://example.com"}, headers=caller.headers)
        assert created.status_code == 201, created.text
        return int(created.json()["id"])


@pytest.fixture
def document(settings: AuthSettings) -> dict[str, Any]:
    return create_app(settings).openapi()


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The object schemas that this schema refers to or is an alternative of."""
    if "$ref" in schema:
        return resolve(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    alternatives = schema.get("anyOf", schema.get("oneOf"))
    if alternatives is None:
        return [schema] if "properties" in schema else []
    return [found for alternative in alternatives for found in resolve(document, alternative)]


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    """Those with a status of their own above."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if f"{method.upper()} {path}" in STATUSES:
                [(media_type, content)] = operation["requestBody"]["content"].items()
                schemas = resolve(document, content["schema"])
                examples = [content["example"]] if "example" in content else schemas[0]["examples"]
                # Of alternatives, the first is the one of the example.
                fields = schemas[0]["properties"]
                defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
                yield Operation(f"{method.upper()} {path}", media_type, examples, defaults)


@dataclass(frozen=True)
class Fresh:
    """Sends each request as the user of the registration's example, with no trace of earlier requests."""

    accounts: Accounts
    client: httpx.AsyncClient
    document: dict[str, Any]

    async def send(self, operation: Operation, body: dict[str, Any]) -> httpx.Response:
        for table in ("users", "attempts", "webhooks"):
            await self.accounts.execute(f"DELETE FROM {table}")  # noqa: S608 our own text
        caller = await self._enter()
        if "/webhooks" in operation.name:
            await self.accounts.execute("UPDATE users SET role = 'admin'")
        return await operation.send(self.client, caller, body)

    async def _enter(self) -> Account:
        named = {operation.name: operation for operation in operations(self.document)}
        [registration] = named["POST /users"].examples
        created = await self.client.post("/users", json=registration)
        assert created.status_code == 201, created.text
        [credentials] = named["POST /auth/login"].examples
        signed_in = await self.client.post("/auth/login", data=credentials)
        assert signed_in.status_code == 200, signed_in.text
        return Account(created.json()["id"], signed_in.json()["access_token"], signed_in.json()["refresh_token"])


@pytest.fixture
def fresh(accounts: Accounts, client: httpx.AsyncClient, document: dict[str, Any]) -> Fresh:
    return Fresh(accounts, client, document)


async def test_every_example_of_a_body_works_when_it_is_sent(fresh: Fresh, document: dict[str, Any]) -> None:
    sent = set()
    for operation in operations(document):
        for example in operation.examples:
            response = await fresh.send(operation, example)
            assert response.status_code in STATUSES[operation.name], (operation.name, response.text)
            if not response.is_success:
                assert response.json()["type"] == REFUSALS[operation.name]
            sent.add(operation.name)
    assert sent == STATUSES.keys()


async def test_every_other_example_of_a_body_works_when_it_is_sent(
    client: httpx.AsyncClient, accounts: Accounts, document: dict[str, Any]
) -> None:
    async with accounts.app.state.database.writing() as connection:
        await restart_ids(connection)
    user, admin = await accounts.add("anna"), await accounts.add_admin()
    examples = Examples(client, document, {"user_id": user.id}, user.headers, admin.headers)
    for operation in examples.operations():
        if str(operation) not in STATUSES:
            for example in operation.examples:
                await examples.send(operation, example)


async def test_every_default_of_a_body_is_accepted_where_it_is_sent(fresh: Fresh, document: dict[str, Any]) -> None:
    """The response is the same as without it; a null is sent in JSON only, for a form has none."""
    sent = set()
    for operation in operations(document):
        for name, default in operation.defaults.items():
            example = operation.examples[0]
            if operation.name in {"POST /users", "POST /auth/register"}:
                example = {"username": "other", "email": "other@example.com", "password": example["password"]}
            if operation.media_type != FORM or default is not None:
                with_default = await fresh.send(operation, example | {name: default})
                without = await fresh.send(operation, {key: value for key, value in example.items() if key != name})
                assert with_default.status_code == without.status_code, (operation.name, name, with_default.text)
                assert without.status_code in STATUSES[operation.name] | {201}
                sent.add((operation.name, name))
    assert {("POST /users", "role"), ("POST /users", "is_active"), ("POST /auth/register", "role")} <= sent
    assert {("POST /auth/refresh", "grant_type"), ("POST /auth/logout", "scope")} <= sent


async def test_every_default_of_a_query_is_accepted_where_it_is_sent(
    client: httpx.AsyncClient, accounts: Accounts, document: dict[str, Any]
) -> None:
    sent = set()
    root = await accounts.add_admin()
    made = await client.post("/webhooks", json={"url": "https://example.com"}, headers=root.headers)
    for path, item in document["paths"].items():
        for parameter in item.get("get", {}).get("parameters", []):
            if (default := parameter["schema"].get("default")) is not None:
                address = path.format_map(Ids(user_id=root.id, webhook_id=made.json()["id"]))
                query = {parameter["name"]: default}
                without = await client.get(address, headers=root.headers)
                with_default = await client.get(address, params=query, headers=root.headers)
                assert (with_default.status_code, with_default.json()) == (200, without.json()), (path, parameter)
                sent.add((path, parameter["name"]))
    assert {("/users", name) for name in ("limit", "skip", "total", "sort")} <= sent
