"""Which routes are public or for admins, and whether the service conforms to its OpenAPI document."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import pytest
from auth_support import Accounts, registration
from fastapi import FastAPI
from kpi_auth.app import create_app
from kpi_auth.settings import PART, AuthSettings
from kpi_shared.caller import Role
from kpi_shared.migrations import upgrade
from kpi_shared.testing.bodies import find_unexpected_responses, operations_with_body
from kpi_shared.testing.documents import find_gaps, security_of
from kpi_shared.testing.fields import fields, find_accepted_lines, find_accepted_spellings, text_fields
from kpi_shared.testing.fuzzing import fuzz
from kpi_shared.testing.postgres import create_database
from kpi_shared.testing.process import start_part
from kpi_shared.testing.rights import HEALTH, for_admins_by_table, public_by_table
from kpi_shared.testing.surface import (
    admin_operations,
    differences_with_slash,
    operations,
    operations_with_effects,
    public_operations,
    reads_that_write,
    unexpected_heads,
)
from kpi_shared.tokens import TokenCodec
from pydantic import SecretStr

ADMIN_ID = 4_103_225_117_938


async def test_every_route_but_these_needs_a_token(client: httpx.AsyncClient, settings: AuthSettings) -> None:
    document = create_app(settings).openapi()
    expected = public_by_table(operations(document))
    assert await public_operations(client, document, path={}, body={}) == expected > HEALTH


async def test_these_routes_are_for_admins_only(
    client: httpx.AsyncClient, settings: AuthSettings, accounts: Accounts
) -> None:
    anna, ben = await accounts.add("anna"), await accounts.add("ben")
    # These requests end no session that the other requests need.
    path = {"user_id": ben.id, "session_id": ADMIN_ID}
    names = operations(create_app(settings).openapi())
    called = names - public_by_table(names) - {"POST /auth/logout"}
    expected = for_admins_by_table(names)
    assert await admin_operations(client, called, path=path, headers=anna.headers) == expected > set()


# They are never run for HEAD. The first one's test is in test_identities.py, because it needs a provider.
READS_WITH_EFFECTS = {"GET /auth/verify_supabase_token"}


async def test_no_other_get_writes(
    client: httpx.AsyncClient, app: FastAPI, settings: AuthSettings, accounts: Accounts
) -> None:
    root, document = await accounts.add_admin(), create_app(settings).openapi()
    assert operations_with_effects(document) == READS_WITH_EFFECTS
    path = {"user_id": root.id}
    writing = await reads_that_write(client, app.state.database, document, path=path, headers=root.headers)
    assert writing <= READS_WITH_EFFECTS


async def test_head_is_answered_as_get_and_listed_with_it(
    client: httpx.AsyncClient, settings: AuthSettings, accounts: Accounts
) -> None:
    root, document = await accounts.add_admin(), create_app(settings).openapi()
    path = {"user_id": root.id}
    assert await unexpected_heads(client, document, path=path, headers=root.headers) == []


async def test_a_slash_at_the_end_makes_no_difference(
    client: httpx.AsyncClient, settings: AuthSettings, accounts: Accounts
) -> None:
    root, document = await accounts.add_admin(), create_app(settings).openapi()
    path = {"user_id": root.id}
    assert await differences_with_slash(client, document, path=path, headers=root.headers) == []


def test_a_migrated_database_holds_no_account(worker: str, secret_key: str) -> None:
    url = create_database(f"auth_empty_{worker}")
    upgrade(PART, AuthSettings(database_url=SecretStr(url), paseto_secret_key=SecretStr(secret_key)))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (0,)


def test_generated_requests_conform_to_the_openapi_document(worker: str, secret_key: str, tmp_path: Path) -> None:
    url = create_database(f"auth_fuzz_{worker}")
    settings = AuthSettings(database_url=SecretStr(url), paseto_secret_key=SecretStr(secret_key))
    upgrade(PART, settings)
    environment = {
        "DATABASE_URL": url,
        "PASETO_SECRET_KEY": secret_key,
        "ARGON2_MEMORY_KIB": "64",
        "ARGON2_TIME_COST": "1",
        # Otherwise requests that need mail would always get a 503.
        "MAIL_URL": tmp_path.as_uri(),
        "FILES_URL": tmp_path.as_uri(),
        "MAILS_PER_ADDRESS": "10000",
        "FAILURES_PER_ADDRESS": "10000",
    }
    _add_admin(url)
    token = TokenCodec.of(settings).mint(
        user_id=ADMIN_ID, username="root", role=Role.ADMIN, session_id=str(ADMIN_ID), lifetime=timedelta(minutes=5)
    )
    with start_part("kpi_auth", environment, log=tmp_path / "auth.log") as address:
        # A schema cannot say which e-mail addresses are reserved or which passwords are common.
        fuzz(
            address,
            token=token,
            folder=tmp_path,
            excluded=["positive_data_acceptance"],
            # It would end the session of all other requests.
            excluded_paths=["/auth/logout"],
        )


def _add_admin(url: str) -> None:
    """Add an admin with a session, both with ids that no generated request uses."""
    with psycopg.connect(url) as connection:
        values = {"id": ADMIN_ID, "secret": bytes(32)}
        connection.execute(
            "INSERT INTO users (id, username, role) OVERRIDING SYSTEM VALUE VALUES (%(id)s, 'root', 'admin')", values
        )
        connection.execute(
            "INSERT INTO sessions (id, user_id, secret) OVERRIDING SYSTEM VALUE VALUES (%(id)s, %(id)s, %(secret)s)",
            values,
        )


async def test_numbers_have_one_spelling(client: httpx.AsyncClient, settings: AuthSettings, accounts: Accounts) -> None:
    root = await accounts.add_admin()
    integers = [field for field in fields(create_app(settings).openapi()) if field.is_integer]
    expected = {"GET /users query limit", "GET /users/{user_id} path user_id", "GET /audit query actor_id"}
    assert expected <= {str(field) for field in integers}
    accepted = {str(field): await find_accepted_spellings(client, field, root.headers) for field in integers}
    assert {name: values for name, values in accepted.items() if values} == {}


# Texts of several lines, and those that are compared with what is stored and never stored themselves.
OTHER_TEXTS = {"bio", "password", "new_password", "current_password", "login", "code", "token", "client_secret"}


async def test_names_are_one_visible_line(
    client: httpx.AsyncClient, settings: AuthSettings, accounts: Accounts
) -> None:
    root = await accounts.add_admin()
    stored = {"POST /users", "POST /auth/register", "PATCH /users/{user_id}", "PUT /users/{user_id}"}
    lines = [
        field
        for field in text_fields(create_app(settings).openapi())
        if field.operation in stored and field.name not in OTHER_TEXTS
    ]
    assert {field.name for field in lines} >= {"username", "full_name"}
    accepted = {str(field): await find_accepted_lines(client, field, root.headers) for field in lines}
    assert {name: values for name, values in accepted.items() if values} == {}


async def test_a_body_of_another_type_is_unsupported(
    client: httpx.AsyncClient, settings: AuthSettings, accounts: Accounts
) -> None:
    root = await accounts.add_admin()
    document = create_app(settings).openapi()
    assert {"POST /auth/login", "POST /auth/exchange", "PATCH /users/{user_id}"} <= set(operations_with_body(document))
    assert await find_unexpected_responses(client, document, root.headers) == []


@pytest.mark.parametrize("encode", [str, quote])
async def test_a_form_is_utf_8_whether_it_is_percent_encoded_or_not(
    client: httpx.AsyncClient, encode: Callable[[str], str]
) -> None:
    password = "pässwörd 日本 + %41"
    registered = await client.post("/users", json=registration("anna") | {"password": password})
    assert registered.status_code == 201
    # What an HTML form or curl -d sends: + is a space, and % and + themselves are always encoded.
    value = "+".join(encode(word) for word in ("pässwörd", "日本")) + "+%2B+%2541"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = await client.post("/auth/login", content=f"username=anna&password={value}".encode(), headers=headers)
    assert response.status_code == 200, response.text


def test_the_document_is_complete(settings: AuthSettings) -> None:
    document = create_app(settings).openapi()
    assert find_gaps(document) == []
    # The operations that work without a token and do more with one.
    optional = {name for name, security in security_of(document).items() if security[0] == {}}
    assert {"POST /users", "POST /api-keys/self/revoke"} <= optional <= public_by_table(operations(document))
    assert sorted(document["components"]["securitySchemes"]) == ["apiKey", "password"]
    # What decides about an account is for people.
    people = {name for name, security in security_of(document).items() if security == [{"password": []}]}
    assert people == {
        *("GET /auth/sessions", "DELETE /auth/sessions/{session_id}", "POST /auth/logout"),
        *("POST /auth/change-password", "POST /auth/change-email"),
    }
