"""Registration: permissions, conflicts, and what the response discloses."""

import httpx
import pytest
from auth_support import ALL_FIELDS, PASSWORD, Accounts, SentMail, code_of, configured, registration
from fastapi import FastAPI
from kpi_auth.mails.outbox import Template
from kpi_shared.settings import Environment
from pydantic import SecretStr


async def test_registration_returns_the_user_without_the_hash(client: httpx.AsyncClient) -> None:
    response = await client.post("/users", json=registration("Anna", email="Anna@Example.COM"))
    assert response.status_code == 201, response.text
    shown = response.json()
    assert shown["username"] == "Anna"
    assert shown["email"] == "anna@example.com"
    assert (shown["role"], shown["is_active"]) == ("user", True)
    assert set(shown) == ALL_FIELDS | {"message"}
    assert shown["email_verified"] is False
    assert "argon2" not in response.text
    assert PASSWORD not in response.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", "ab"),
        ("username", "a" * 33),
        ("username", "with space"),
        ("username", "semi;colon"),
        ("username", "nul\0byte"),
        ("username", "\u043a\u0438\u0440"),
        ("username", "line\n"),
        ("email", "no-at-sign"),
        ("email", "two@@example.com"),
        ("email", "a@b"),
        ("email", "nul\0@example.com"),
        ("email", f"{'a' * 65}@example.com"),
        ("email", None),
        ("password", "seven77"),
        ("password", "a" * 257),
        ("password", "iloveyou"),
        ("password", "ILoveYou"),
        ("password", "11111111"),
        ("password", "nul\0 inside it"),
        ("password", 12345678901),
        ("full_name", "f" * 101),
        ("full_name", "two\nlines"),
        ("bio", "b" * 2001),
        ("id", 1),
    ],
)
async def test_a_bad_field_is_named(client: httpx.AsyncClient, field: str, value: object) -> None:
    response = await client.post("/users", json={**registration("anna"), field: value})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in response.json()["errors"]] == [f"#/body/{field}"]


@pytest.mark.parametrize(
    "password",
    [
        *("anna_the_first", "anna@example.com", "ANNA@example.com", "Anna_The_First!", "2026-anna_the_first"),
        *("kpi-one-2026", "KPI_One!!", "kpione2026", "administrator", "Admin-1234"),
    ],
)
async def test_a_password_that_contains_the_username_or_address_is_refused(
    client: httpx.AsyncClient, password: str
) -> None:
    body = {"username": "anna_the_first", "email": "anna@example.com", "password": password}
    response = await client.post("/users", json=body)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["#/body/password"]


@pytest.mark.parametrize("password", [" spaces count ", "日本語のパスワードです", "p" * 256])
async def test_a_password_is_used_unchanged(client: httpx.AsyncClient, accounts: Accounts, password: str) -> None:
    response = await client.post("/users", json={**registration("anna"), "password": password})
    assert response.status_code == 201, response.text
    assert await accounts.sign_in("anna", password)
    assert not await accounts.sign_in("anna", password + " ")


async def test_a_validation_error_does_not_repeat_the_password(client: httpx.AsyncClient) -> None:
    response = await client.post("/users", json={"username": "x", "password": "swordfish-77", "email": "e"})
    assert response.status_code == 422
    assert "swordfish-77" not in response.text


@pytest.mark.parametrize("path", ["/users", "/auth/register"])
async def test_a_registration_is_recorded_and_sends_a_link(
    client: httpx.AsyncClient, accounts: Accounts, path: str
) -> None:
    body = registration("anna") | {"full_name": " Anna A. ", "bio": "Reads\nmuch."}
    response = await client.post(path, json=body)
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/users/{response.json()['id']}"
    assert response.headers["cache-control"] == "no-store"
    assert await accounts.events(response.json()["id"]) == ["user.registered"]
    [mail] = await accounts.mails("anna@example.com")
    assert (mail.template, mail.values["username"]) == ("verify_email", "anna")
    assert mail.values["link"].startswith("http://127.0.0.1:8000/auth/verify-email#code=")
    assert len(code_of(mail)) == 43
    kept = "SELECT full_name || '/' || bio FROM users WHERE username = 'anna'"
    assert await accounts.scalar(kept) == "Anna A./Reads\nmuch."


@pytest.mark.parametrize("again", ["ANNA", "\uff41\uff4e\uff4e\uff41"])
async def test_a_taken_username_is_disclosed(client: httpx.AsyncClient, again: str) -> None:
    assert (await client.post("/users", json=registration("anna"))).status_code == 201
    response = await client.post(
        "/users", json=registration("anna") | {"username": again, "email": "other@example.com"}
    )
    assert response.status_code == 409
    assert response.json()["type"] == "username-taken"
    assert response.json()["errors"][0]["pointer"] == "#/body/username"


@pytest.mark.parametrize(
    "changes",
    [
        {"mail_url": None},
        {"mail_url": SecretStr("file:///mails")},
        {"app_env": Environment.DEVELOPMENT},
        {"registration_tells_email": True},
    ],
)
@pytest.mark.parametrize("email", ["ANNA@example.com", "anna@EXAMPLE.com"])
async def test_a_taken_address_is_disclosed_if_the_settings_say_so(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI, changes: dict[str, object], email: str
) -> None:
    with configured(app, **changes):
        assert (await client.post("/users", json=registration("anna"))).status_code == 201
        response = await client.post("/users", json=registration("other", email=email))
        assert response.status_code == 409
        assert response.json()["type"] == "email-taken"
        assert response.json()["errors"][0]["pointer"] == "#/body/email"
        # No other account has the address, so it signs in before it is verified.
        assert await accounts.sign_in("anna@example.com", PASSWORD)
    mails = await accounts.mails("anna@example.com")
    assert [mail.template for mail in mails] == ([] if changes == {"mail_url": None} else ["verify_email"])


CONFIRM = "Confirm the e-mail address with the link that is sent to it."
SIGN_IN = "Sign in with the username or the e-mail address."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, f"{CONFIRM} Until then, sign in with the username."),
        ({"app_env": Environment.DEVELOPMENT}, f"{SIGN_IN} {CONFIRM}"),
        ({"mail_url": SecretStr("file:///mails")}, f"{SIGN_IN} {CONFIRM}"),
        ({"mail_url": None}, SIGN_IN),
        (
            {"app_env": Environment.DEVELOPMENT, "registration_tells_email": False},
            f"{CONFIRM} Until then, sign in with the username.",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/users", "/auth/register"])
async def test_the_response_says_whether_the_address_must_be_confirmed(
    client: httpx.AsyncClient, app: FastAPI, changes: dict[str, object], message: str, path: str
) -> None:
    with configured(app, **changes):
        response = await client.post(path, json=registration("anna"))
    assert (response.status_code, response.json()["email_verified"]) == (201, False)
    assert response.json()["message"] == message


async def test_an_inactive_account_is_reported_as_such(client: httpx.AsyncClient, accounts: Accounts) -> None:
    admin = await accounts.add_admin()
    body = registration("ben") | {"is_active": False}
    response = await client.post("/users", json=body, headers=admin.headers)
    assert response.json()["message"] == "The account cannot be used until an admin activates it."


async def test_a_taken_address_is_not_disclosed_but_its_owner_gets_an_e_mail(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    await accounts.add("anna")
    free = await client.post("/users", json=registration("ben", email="free@example.com"))
    taken = await client.post("/users", json=registration("kim", email="anna@example.com"))
    assert (free.status_code, taken.status_code) == (201, 201)
    own = {"id", "username", "email", "created_at", "updated_at"}
    shown = [{k: v for k, v in response.json().items() if k not in own} for response in (free, taken)]
    assert shown[0] == shown[1]
    assert set(free.json()) == set(taken.json())
    assert set(free.headers) == set(taken.headers)
    assert (await accounts.mails("anna@example.com"))[1:] == [SentMail("address_in_use", {"username": "anna"})]
    # Kim cannot sign in with the unverified address, which Anna has; Anna still can.
    assert await accounts.sign_in("kim", PASSWORD)
    assert await accounts.scalar("SELECT email_signs_in FROM users WHERE username = 'kim'") is False
    assert await accounts.scalar("SELECT email_signs_in FROM users WHERE username = 'ben'") is False
    signed_in = await client.post("/auth/login", json={"username": "anna@example.com", "password": PASSWORD})
    assert signed_in.json()["username"] == "anna"
    assert await accounts.scalar("SELECT count(*) FROM users WHERE email = 'anna@example.com'") == 2


async def test_if_usernames_are_not_disclosed_the_response_is_always_the_same(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI
) -> None:
    await accounts.add("anna")
    with configured(app, registration_tells_username=False):
        free = await client.post("/users", json=registration("ben"))
        taken = await client.post("/users", json=registration("Anna", email="other@example.com"))
    for response in (free, taken):
        assert (response.status_code, response.json()) == (202, {"status": "accepted"})
        assert "location" not in response.headers
    assert set(free.headers) == set(taken.headers)
    assert await accounts.mails("other@example.com") == [SentMail("username_in_use", {"username": "Anna"})]
    assert [mail.template for mail in await accounts.mails("ben@example.com")] == ["verify_email"]
    assert await accounts.sign_in("ben", PASSWORD)


async def test_taken_names_are_disclosed_to_admins_with_any_settings(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI
) -> None:
    await accounts.add("anna")
    admin = await accounts.add_admin()
    with configured(app, registration_tells_username=False):
        for body, kind in (
            (registration("anna", email="other@example.com"), "username-taken"),
            (registration("other", email="anna@example.com"), "email-taken"),
        ):
            response = await client.post("/users", json=body, headers=admin.headers)
            assert (response.status_code, response.json()["type"]) == (409, kind)
        made = await client.post("/users", json=registration("ben"), headers=admin.headers)
        assert (made.status_code, made.json()["username"]) == (201, "ben")


async def test_an_admin_may_set_role_and_state(client: httpx.AsyncClient, accounts: Accounts) -> None:
    admin = await accounts.add_admin()
    more = {"role": "admin", "is_active": False}
    response = await client.post("/users", json=registration("ben") | more, headers=admin.headers)
    assert response.status_code == 201, response.text
    assert (response.json()["role"], response.json()["is_active"]) == ("admin", False)
    assert await accounts.events(response.json()["id"]) == ["user.created"]
    recorded = "SELECT actor_id = :admin AND details = CAST(:details AS jsonb) FROM audit_events WHERE subject_id = :id"
    details = '{"role": "admin", "is_active": false}'
    assert await accounts.scalar(recorded, admin=admin.id, details=details, id=response.json()["id"])
    assert not await accounts.sign_in("ben", PASSWORD)
    assert await accounts.mails("ben@example.com") == []


@pytest.mark.parametrize("signed_in", [True, False])
@pytest.mark.parametrize(
    ("more", "fields"),
    [
        ({"role": "admin"}, ["role"]),
        ({"role": "user", "is_active": False}, ["is_active"]),
        ({"role": "admin", "is_active": True}, ["role"]),
        ({"role": "admin", "is_active": False}, ["role", "is_active"]),
    ],
)
async def test_fields_for_admins_are_refused_by_name(
    client: httpx.AsyncClient, accounts: Accounts, more: dict[str, object], fields: list[str], signed_in: bool
) -> None:
    headers = (await accounts.add("anna")).headers if signed_in else {}
    response = await client.post("/users", json=registration("ben") | more, headers=headers)
    assert response.status_code == 403
    assert [error["pointer"] for error in response.json()["errors"]] == [f"#/body/{name}" for name in fields]
    assert await accounts.scalar("SELECT count(*) FROM users WHERE username = 'ben'") == 0


@pytest.mark.parametrize("signed_in", [True, False])
@pytest.mark.parametrize("path", ["/users", "/auth/register"])
async def test_the_default_values_are_accepted_from_every_client(
    client: httpx.AsyncClient, accounts: Accounts, path: str, signed_in: bool
) -> None:
    headers = (await accounts.add("anna")).headers if signed_in else {}
    body = registration("ben") | {"role": "user", "is_active": True, "full_name": None, "bio": None}
    response = await client.post(path, json=body, headers=headers)
    assert response.status_code == 201, response.text
    assert (response.json()["role"], response.json()["is_active"]) == ("user", True)


async def test_a_former_admin_sets_no_role(client: httpx.AsyncClient, accounts: Accounts) -> None:
    admin = await accounts.add_admin()
    await accounts.execute("UPDATE users SET role = 'user' WHERE id = :id", id=admin.id)
    response = await client.post("/users", json=registration("ben") | {"role": "admin"}, headers=admin.headers)
    assert response.status_code == 403


@pytest.mark.parametrize("path", ["/users", "/auth/register"])
async def test_if_registration_is_closed_only_admins_create_users(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI, path: str
) -> None:
    anna, admin = await accounts.add("anna"), await accounts.add_admin()
    with configured(app, registration="closed"):
        for headers in ({}, anna.headers):
            response = await client.post(path, json=registration("ben"), headers=headers)
            assert (response.status_code, response.json()["type"]) == (403, "registration-closed")
        assert (await client.post(path, json=registration("ben"), headers=admin.headers)).status_code == 201


async def test_an_invalid_token_is_refused_at_registration(client: httpx.AsyncClient) -> None:
    response = await client.post("/users", json=registration("ben"), headers={"Authorization": "Bearer v4.local.x"})
    assert response.status_code == 401


async def test_the_number_of_e_mails_to_one_address_is_limited(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI
) -> None:
    with configured(app, mails_per_account=2):
        for name in ("anna", "ben", "kim"):
            response = await client.post("/users", json=registration(name, email="one@example.com"))
            assert response.status_code == 201
        await client.post("/users", json=registration("joe"))
    assert len(await accounts.mails("one@example.com")) == 2
    assert len(await accounts.mails("joe@example.com")) == 1


async def test_no_header_reaches_a_link(client: httpx.AsyncClient, accounts: Accounts) -> None:
    hostile = {"host": "evil.example.net", "x-forwarded-host": "evil.example.net", "forwarded": "host=evil.example.net"}
    assert (await client.post("/users", json=registration("anna"), headers=hostile)).status_code == 201
    await client.post("/auth/forgot-password", json={"username": "anna"}, headers=hostile)
    await client.post("/auth/resend-verification", json={"username": "anna"}, headers=hostile)
    mails = await accounts.mails("anna@example.com")
    assert [mail.template for mail in mails] == [Template.VERIFY_EMAIL, Template.RESET_PASSWORD, Template.VERIFY_EMAIL]
    assert all(mail.values["link"].startswith("http://127.0.0.1:8000/auth/") for mail in mails)


async def test_a_refused_registration_is_not_counted(client: httpx.AsyncClient, app: FastAPI) -> None:
    with configured(app, registrations_per_address=2):
        assert (await client.post("/users", json=registration("anna"))).status_code == 201
        for _ in range(5):
            assert (await client.post("/users", json=registration("anna"))).status_code == 409
        assert (await client.post("/users", json=registration("ben", email="anna@example.com"))).status_code == 201


async def test_the_number_of_registrations_from_one_client_is_limited(client: httpx.AsyncClient, app: FastAPI) -> None:
    with configured(app, registrations_per_address=2):
        statuses = [(await client.post("/users", json=registration(f"anna{n}"))).status_code for n in range(3)]
    assert statuses == [201, 201, 429]
