"""Who may call which operation: every operation of the merged document, called by everybody.

``rights.txt`` says what each one needs. An operation without a line there fails, so that a new one gets its right
deliberately.
"""

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from kpi_shared.testing.process import free_port, run_command
from kpi_shared.testing.rights import read_rights
from stack import PASSWORD, Stack, join, run_stack, service_settings

DOCUMENT = Path(__file__).parent.parent / "docs" / "openapi.json"
API = "/api/v1"
JSON = "application/json"
METHODS = {"get", "put", "post", "delete", "patch"}
# What each caller gets: "yes" stands for every response that is about the request and not about the caller.
CALLERS = ("nobody", "read key", "write key", "admin key", "user", "admin")
EXPECTED = {
    "public": ("yes", "yes", "yes", "yes", "yes", "yes"),
    # Public, and does more for a known caller.
    "public-write": ("yes", "insufficient-scope", "yes", "yes", "yes", "yes"),
    "read": ("unauthenticated", "yes", "yes", "yes", "yes", "yes"),
    "write": ("unauthenticated", "insufficient-scope", "yes", "yes", "yes", "yes"),
    "admin": ("unauthenticated", "insufficient-scope", "insufficient-scope", "yes", "forbidden", "yes"),
    "person": ("unauthenticated", "person-required", "person-required", "person-required", "yes", "yes"),
}
REFUSALS = {"unauthenticated", "insufficient-scope", "forbidden", "person-required"}
# No row has this id.
NO_ID = 2**62
# The tokens of keys live for a minute, which a busy machine may need for a part of the calls. In seconds.
RENEWAL = 20.0


def find_operations() -> dict[str, Any]:
    paths = json.loads(DOCUMENT.read_text())["paths"]
    return {
        f"{method.upper()} {path.removeprefix(API)}": operation
        for path, item in paths.items()
        for method, operation in item.items()
        if method in METHODS
    }


def find_media_types() -> dict[str, str]:
    """What each operation takes: what it does not take is refused before the caller is checked."""
    found = {
        name: list(each["requestBody"]["content"]) for name, each in find_operations().items() if "requestBody" in each
    }
    return {name: JSON if JSON in types else types[0] for name, types in found.items()}


@dataclass(frozen=True)
class Callers:
    """Makes the headers of each caller, who signs in again for an operation that could end a session."""

    stack: Stack
    client: httpx.Client
    exchange: str
    internal_key: str
    admin: str

    def headers(self, caller: str) -> dict[str, str]:
        if caller == "nobody":
            return {}
        if caller == "user":
            return join(self.client, "").headers
        token = self.sign_in(self.admin)
        return token if caller == "admin" else self.key_headers(token, caller.partition(" ")[0])

    def sign_in(self, username: str) -> dict[str, str]:
        response = self.client.post("/auth/login", json={"username": username, "password": PASSWORD})
        assert response.status_code == 200, response.text
        return {"Authorization": f"Bearer {response.json()['access_token']}"}

    def key_headers(self, owner: dict[str, str], scope: str) -> dict[str, str]:
        """Those that the gateway passes on for a key with this scope."""
        made = self.client.post("/api-keys", json={"name": scope, "scopes": scope}, headers=owner)
        assert made.status_code == 201, made.text
        internal = {"Authorization": f"Bearer {self.internal_key}"}
        found = httpx.post(self.exchange, json={"key": made.json()["key"]}, headers=internal)
        assert found.status_code == 200, found.text
        return {"Authorization": f"Bearer {found.json()['access_token']}"}


@pytest.fixture(scope="module")
def callers(worker: str, secret_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callers]:
    folder = tmp_path_factory.mktemp("rights")
    settings = service_settings(f"rights_{worker}", secret_key)
    port, internal_key = free_port(), secrets.token_hex(32)
    # The calls with a wrong password are many, and none of them is to be refused for that.
    settings["auth"] |= {"INTERNAL_PORT": str(port), "INTERNAL_KEY": internal_key, "FAILURES_PER_ADDRESS": "10000"}
    # Nothing here is about time: a busy machine must not change an answer.
    settings["auth"] |= {"ARGON2_MEMORY_KIB": "64", "ARGON2_TIME_COST": "1"}
    with (
        run_stack(settings, folder) as stack,
        httpx.Client(base_url=f"{stack.gateway}/api/v1", timeout=30) as client,
    ):
        made = {"username": "root", "password": PASSWORD, "role": "admin"}
        run_command("kpi_auth", "create-user", settings=settings["auth"], given=json.dumps(made))
        yield Callers(stack, client, f"http://127.0.0.1:{port}/internal/api-keys/exchange", internal_key, "root")


def test_every_operation_has_a_line() -> None:
    table = read_rights()
    assert set(table) == set(find_operations())
    assert set(table.values()) == set(EXPECTED)


def test_the_document_says_what_the_table_says() -> None:
    """The document has it from the dependencies that check the caller."""
    found = {name: operation["x-access"] for name, operation in find_operations().items()}
    assert found == read_rights()


def test_everybody_gets_what_the_table_says(callers: Callers) -> None:
    unexpected = []
    known, made_at = {}, -RENEWAL
    media_types = find_media_types()
    for operation, right in read_rights().items():
        if time.monotonic() - made_at >= RENEWAL:
            known, made_at = {caller: callers.headers(caller) for caller in CALLERS}, time.monotonic()
        for caller, expected in zip(CALLERS, EXPECTED[right], strict=True):
            ends_session = operation == "POST /auth/logout"
            headers = callers.headers(caller) if ends_session else known[caller]
            found = call(callers.stack, operation, headers, media_types.get(operation, JSON))
            if found != expected:
                unexpected.append(f"{operation} by {caller}: {found} instead of {expected}")
    assert unexpected == []


def call(stack: Stack, operation: str, headers: dict[str, str], media_type: str) -> str:
    method, _, path = operation.partition(" ")
    while "{" in path:
        path = f"{path[: path.index('{')]}{NO_ID}{path[path.index('}') + 1 :]}"
    # A body that no operation accepts: what is refused for it has passed the check of the caller.
    content = b'{"unknown": 1}' if method != "GET" else None
    headers = headers | ({"Content-Type": media_type} if content else {})
    response = httpx.request(method, stack.gateway + API + path, headers=headers, content=content, timeout=30)
    is_problem = response.headers.get("content-type") == "application/problem+json"
    slug = response.json()["type"] if is_problem else ""
    assert response.status_code < 500, (operation, response.text)
    return slug if slug in REFUSALS else "yes"
