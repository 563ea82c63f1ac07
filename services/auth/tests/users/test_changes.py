"""Changes of users: permissions, sessions and codes, and audit records."""

import json
from typing import Any

import httpx
import pytest
from auth_support import ALL_FIELDS, PASSWORD, Account, Accounts, assert_problem
from fastapi import FastAPI
from kpi_auth.codes import service as codes
from kpi_auth.codes.models import Purpose


@pytest.fixture
async def anna(accounts: Accounts) -> Account:
    return await accounts.add("anna")


@pytest.fixture
async def ben(accounts: Accounts) -> Account:
    return await accounts.add("ben")


@pytest.fixture
async def root(accounts: Accounts) -> Account:
    return await accounts.add_admin()


class People:
    """Requests about a user, with the token of an account."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def put(self, by: Account, of: Account, **body: Any) -> httpx.Response:
        return await self._client.put(f"/users/{of.id}", json=body, headers=by.headers)

    async def patch(self, by: Account, of: Account, **body: Any) -> httpx.Response:
        return await self._client.patch(f"/users/{of.id}", json=body, headers=by.headers)

    async def delete(self, by: Account, of: Account, *, password: str | None = None) -> httpx.Response:
        body = {"json": {"password": password}} if password else {}
        return await self._client.request("DELETE", f"/users/{of.id}", headers=by.headers, **body)  # type: ignore[arg-type]

    async def restore(self, by: Account, of: Account) -> httpx.Response:
        return await self._client.post(f"/users/{of.id}/restore", headers=by.headers)

    async def get(self, by: Account, of: Account, **query: Any) -> httpx.Response:
        return await self._client.get(f"/users/{of.id}", params=query, headers=by.headers)

    async def is_signed_in(self, account: Account) -> bool:
        refreshed = await self._client.post("/auth/refresh", json={"refresh_token": account.refresh_token})
        return refreshed.is_success


@pytest.fixture
def people(client: httpx.AsyncClient) -> People:
    return People(client)


async def give_code(accounts: Accounts, of: Account) -> None:
    async with accounts.app.state.database.writing() as connection:
        await codes.issue(connection, user_id=of.id, purpose=Purpose.RESET_PASSWORD, email="anna@example.com")


async def codes_of(accounts: Accounts, of: Account) -> object:
    return await accounts.scalar("SELECT count(*) FROM one_time_codes WHERE user_id = :id", id=of.id)


# Profiles.


async def test_put_replaces_all_own_fields_and_patch_those_that_were_sent(
    people: People, accounts: Accounts, anna: Account
) -> None:
    replaced = await people.put(anna, anna, username="Anna_K", full_name="  Anna K. ", bio="likes bees\nand trees")
    assert replaced.status_code == 200, replaced.text
    assert set(replaced.json()) == ALL_FIELDS
    assert (replaced.json()["username"], replaced.json()["full_name"]) == ("Anna_K", "Anna K.")
    changed = (await people.patch(anna, anna, bio=None)).json()
    assert (changed["bio"], changed["full_name"]) == (None, "Anna K.")
    replaced = await people.put(anna, anna, username="anna_k")
    assert (replaced.json()["full_name"], replaced.json()["bio"]) == (None, None)
    assert replaced.json() == (await people.get(anna, anna)).json()
    assert replaced.json()["updated_at"] > changed["updated_at"]
    assert await people.is_signed_in(anna)
    assert await accounts.sign_in("ANNA_K", PASSWORD)
    assert not await accounts.sign_in("anna", PASSWORD)
    recorded = await accounts.scalar(
        "SELECT array_agg(details::text ORDER BY id) FROM audit_events"
        " WHERE event = 'user.changed' AND subject_id = :id",
        id=anna.id,
    )
    assert recorded == [
        '{"fields": ["username", "full_name", "bio"], "new_username": "Anna_K", "old_username": "anna"}',
        '{"fields": ["bio"]}',
        '{"fields": ["username", "full_name"], "new_username": "anna_k", "old_username": "Anna_K"}',
    ]


async def test_equal_values_are_no_change(people: People, accounts: Accounts, anna: Account) -> None:
    events = await accounts.events(anna.id)
    before = await people.get(anna, anna)
    response = await people.patch(anna, anna, username="anna", bio=None)
    assert response.json() == before.json()
    assert response.headers["etag"] == before.headers["etag"]
    assert await accounts.events(anna.id) == events


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", "ab"),
        ("username", None),
        ("username", "with space"),
        ("full_name", ""),
        ("full_name", " "),
        ("full_name", "two\nlines"),
        ("full_name", "a" * 101),
        ("bio", "a" * 2001),
        ("bio", "nul\0"),
        ("bio", "\ud800"),
        ("bio", 5),
        ("email", None),
        ("email", "no-at-sign"),
        ("role", "root"),
        ("is_active", None),
        ("is_active", "yes"),
        ("password", PASSWORD),
        ("id", 1),
        ("deleted_at", None),
    ],
)
async def test_a_bad_field_is_named(
    client: httpx.AsyncClient, root: Account, anna: Account, field: str, value: object
) -> None:
    body = json.dumps({"username": "anna", field: value})
    headers = {**root.headers, "Content-Type": "application/json"}
    for method in ("PUT", "PATCH"):
        response = await client.request(method, f"/users/{anna.id}", content=body, headers=headers)
        assert_problem(response, 422, "invalid-request", f"#/body/{field}")


async def test_an_empty_patch_is_refused(people: People, anna: Account) -> None:
    assert (await people.patch(anna, anna)).status_code == 422


@pytest.mark.parametrize("name", ["BEN", "\uff42\uff45\uff4e"])
async def test_a_taken_username_is_a_conflict_even_if_its_user_is_deleted(
    people: People, accounts: Accounts, anna: Account, ben: Account, root: Account, name: str
) -> None:
    assert_problem(await people.patch(anna, anna, username=name), 409, "username-taken", "#/body/username")
    assert (await people.delete(root, ben)).status_code == 204
    assert_problem(await people.patch(anna, anna, username=name), 409, "username-taken", "#/body/username")
    assert (await people.patch(anna, anna, username="ANNA")).status_code == 200


# Permissions.


@pytest.mark.parametrize(
    "body",
    [
        {"role": "admin"},
        {"role": "user"},
        {"is_active": True},
        {"email": "anna@example.com"},
        {"bio": "kept out too", "email": "new@example.com", "role": "user", "is_active": False},
    ],
)
async def test_a_field_that_the_caller_may_not_set_is_named_and_nothing_changes(
    people: People, anna: Account, body: dict[str, Any]
) -> None:
    before = await people.get(anna, anna)
    foreign = [f"#/body/{name}" for name in ("email", "role", "is_active") if name in body]
    for response in (await people.patch(anna, anna, **body), await people.put(anna, anna, username="anna", **body)):
        assert_problem(response, 403, "field-not-yours")
        assert {error["pointer"] for error in response.json()["errors"]} == set(foreign)
        assert ("POST /auth/change-email" in response.json()["detail"]) == ("email" in body)
    assert (await people.get(anna, anna)).json() == before.json()


async def test_only_the_user_and_admins_change_a_user(people: People, anna: Account, ben: Account) -> None:
    for response in (
        await people.put(ben, anna, username="anna"),
        await people.patch(ben, anna, bio="x"),
        await people.delete(ben, anna, password=PASSWORD),
    ):
        assert_problem(response, 403, "not-your-account")
    assert_problem(await people.restore(ben, anna), 403, "forbidden")


async def test_a_closed_account_is_visible_to_admins_only(
    people: People, accounts: Accounts, anna: Account, ben: Account, root: Account
) -> None:
    assert (await people.patch(root, anna, is_active=False)).status_code == 200
    for response in (
        await people.get(ben, anna),
        await people.patch(ben, anna, bio="x"),
        await people.delete(ben, anna),
    ):
        assert_problem(response, 404, "user-not-found")
    assert (await people.get(root, anna)).json()["is_active"] is False
    assert (await people.delete(root, anna)).status_code == 204
    for response in (
        await people.get(root, anna),
        await people.patch(root, anna, is_active=True),
        await people.delete(root, anna),
    ):
        assert_problem(response, 404, "user-not-found")
    assert (await people.get(root, anna, deleted=True)).json()["deleted_at"] is not None
    assert_problem(await people.get(root, ben, deleted=True), 404, "user-not-found")
    assert_problem(await people.get(ben, anna, deleted=True), 403, "field-not-yours", "#/query/deleted")


# Changes by admins.


async def test_a_new_role_ends_the_sessions_and_applies_at_the_next_sign_in(
    people: People, client: httpx.AsyncClient, accounts: Accounts, anna: Account, root: Account
) -> None:
    assert (await people.patch(root, anna, role="admin")).json()["role"] == "admin"
    assert (await client.get("/auth/me", headers=anna.headers)).status_code == 401
    assert not await people.is_signed_in(anna)
    again = await accounts.enter("anna")
    assert (await people.patch(again, root, role="user")).json()["role"] == "user"
    details = await accounts.scalar(
        "SELECT details || jsonb_build_object('by', actor_id) FROM audit_events"
        " WHERE event = 'user.role_changed' AND subject_id = :id",
        id=anna.id,
    )
    assert details == {"old": "user", "new": "admin", "by": root.id}


async def test_a_deactivated_user_cannot_sign_in_until_activated(
    people: People, accounts: Accounts, anna: Account, root: Account
) -> None:
    await give_code(accounts, anna)
    assert (await people.patch(root, anna, is_active=False)).json()["is_active"] is False
    assert not await people.is_signed_in(anna)
    assert not await accounts.sign_in("anna", PASSWORD)
    assert await codes_of(accounts, anna) == 0
    assert (await people.patch(root, anna, is_active=True)).json()["is_active"] is True
    assert not await people.is_signed_in(anna)
    assert await accounts.sign_in("anna", PASSWORD)
    events = await accounts.events(anna.id)
    assert [event for event in events if event.startswith("user.")][-2:] == ["user.deactivated", "user.activated"]


@pytest.mark.parametrize("signs_in", [False, True])
async def test_an_address_that_an_admin_sets_must_be_verified(
    people: People, app: FastAPI, accounts: Accounts, anna: Account, root: Account, signs_in: bool
) -> None:
    await give_code(accounts, anna)
    settings = app.state.settings
    app.state.settings = settings.model_copy(update={"registration_tells_email": signs_in})
    try:
        response = await people.patch(root, anna, email="New@Example.com")
    finally:
        app.state.settings = settings
    assert response.status_code == 200, response.text
    assert (response.json()["email"], response.json()["email_verified"]) == ("new@example.com", False)
    stored = "SELECT email_signs_in FROM users WHERE id = :id"
    assert await accounts.scalar(stored, id=anna.id) is signs_in
    # No other account has the address.
    assert await accounts.sign_in("new@example.com", PASSWORD)
    assert not await accounts.sign_in("anna@example.com", PASSWORD)
    # Only the code that verifies the new address is left.
    assert await codes_of(accounts, anna) == 1
    [notice] = [mail for mail in await accounts.mails("anna@example.com") if mail.template == "email_changed"]
    assert notice.values == {"username": "anna", "new_email": "new@example.com"}
    [sent] = await accounts.mails("new@example.com")
    assert sent.template == "verify_email"
    assert "email.changed" in await accounts.events(anna.id)
    recorded = await accounts.scalar(
        "SELECT string_agg(details::text, ' ') FROM audit_events WHERE subject_id = :id", id=anna.id
    )
    assert '{"fields": ["email"]}' in str(recorded)
    assert "@" not in str(recorded)


async def test_an_unchanged_address_stays_verified(people: People, anna: Account, root: Account) -> None:
    assert (await people.patch(root, anna, email="ANNA@example.com", bio="x")).json()["email_verified"] is True


async def test_an_admin_cannot_set_an_address_that_another_user_has(
    people: People, anna: Account, ben: Account, root: Account
) -> None:
    assert_problem(await people.patch(root, anna, email="ben@example.com"), 409, "email-taken", "#/body/email")


async def test_admins_must_confirm_their_own_address(people: People, root: Account) -> None:
    assert_problem(await people.patch(root, root, email="x@example.com"), 403, "field-not-yours", "#/body/email")


# Deletion.


@pytest.mark.parametrize("password", [None, "not the password"])
async def test_deleting_ones_own_account_requires_the_password(
    people: People, accounts: Accounts, anna: Account, password: str | None
) -> None:
    response = await people.delete(anna, anna, password=password)
    assert_problem(response, 403, "wrong-password")
    assert (await people.get(anna, anna)).json()["is_active"] is True
    refused = "user.deletion_refused" in await accounts.events(anna.id)
    assert refused == (password is not None)


async def test_wrong_passwords_are_limited_and_the_session_stays(
    people: People, app: FastAPI, client: httpx.AsyncClient, anna: Account
) -> None:
    settings = app.state.settings
    app.state.settings = settings.model_copy(update={"failures_per_account_and_address": 2})
    try:
        tried = [(await people.delete(anna, anna, password="not the password")).status_code for _ in range(3)]
        assert tried == [403, 403, 429]
        assert (await people.delete(anna, anna, password=PASSWORD)).headers["retry-after"]
    finally:
        app.state.settings = settings
    assert (await client.get("/auth/me", headers=anna.headers)).status_code == 200


async def test_a_deleted_user_cannot_sign_in_and_the_names_stay_reserved(
    people: People, client: httpx.AsyncClient, accounts: Accounts, anna: Account, ben: Account
) -> None:
    await give_code(accounts, anna)
    other = await accounts.enter("anna")
    response = await people.delete(anna, anna, password=PASSWORD)
    assert (response.status_code, response.content) == (204, b"")
    assert not await people.is_signed_in(anna)
    assert not await people.is_signed_in(other)
    assert (await client.get("/auth/me", headers=other.headers)).status_code == 401
    assert not await accounts.sign_in("anna", PASSWORD)
    assert not await accounts.sign_in("anna@example.com", PASSWORD)
    assert await codes_of(accounts, anna) == 0
    assert_problem(await people.get(ben, anna), 404, "user-not-found")
    assert_problem(await people.patch(ben, ben, username="anna"), 409, "username-taken")
    assert [event for event in await accounts.events(anna.id) if event.startswith("user.")][-1] == "user.deleted"


async def test_a_password_that_is_changed_concurrently_deletes_nothing(
    people: People, app: FastAPI, accounts: Accounts, anna: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change comes after the old password was verified, and before the account is locked."""
    verify = app.state.hasher.verify

    async def verify_and_change(*given: Any, **more: Any) -> bool:
        fits: bool = await verify(*given, **more)
        changed = await app.state.hasher.hash("another password altogether")
        await accounts.execute("UPDATE users SET password_hash = :hash WHERE id = :id", hash=changed, id=anna.id)
        return fits

    monkeypatch.setattr(app.state.hasher, "verify", verify_and_change)
    assert_problem(await people.delete(anna, anna, password=PASSWORD), 403, "wrong-password")
    assert (await people.get(anna, anna)).json()["deleted_at"] is None


async def test_an_admin_restores_a_deleted_user(
    people: People, accounts: Accounts, anna: Account, root: Account
) -> None:
    assert_problem(await people.restore(root, anna), 409, "not-deleted")
    assert (await people.delete(root, anna)).status_code == 204
    restored = await people.restore(root, anna)
    assert restored.status_code == 200, restored.text
    shown = restored.json()
    assert (shown["is_active"], shown["deleted_at"], shown["email"]) == (True, None, "anna@example.com")
    assert not await people.is_signed_in(anna)
    assert await accounts.sign_in("anna", PASSWORD)
    events = [event for event in await accounts.events(anna.id) if event.startswith("user.")]
    assert events[-2:] == ["user.deleted", "user.restored"]
    unknown = Account(999_999, root.token, "")
    assert_problem(await people.restore(root, unknown), 404, "user-not-found")


async def test_the_last_active_admin_cannot_be_removed(people: People, accounts: Accounts, root: Account) -> None:
    second = await accounts.add_admin("second")
    assert (await people.patch(root, second, is_active=False)).status_code == 200
    for response in (
        await people.patch(root, root, role="user"),
        await people.patch(root, root, is_active=False),
        await people.put(root, root, username="root", role="user"),
        await people.delete(root, root),
        await people.delete(root, root, password=PASSWORD),
    ):
        assert_problem(response, 409, "last-admin")
    assert (await people.patch(root, second, is_active=True)).status_code == 200
    assert (await people.patch(root, root, role="user")).json()["role"] == "user"
