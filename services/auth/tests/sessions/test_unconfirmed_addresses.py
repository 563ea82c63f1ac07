"""Signing in with an address that is not confirmed, and the reason of each refusal in the audit log."""

import httpx
import pytest
from auth_support import PASSWORD, Accounts, registration
from kpi_auth.accounts.fragments import OF_LOGIN, SIGN_IN_COLUMNS
from sqlalchemy import text

EMAIL = "anna@example.com"


async def sign_in(client: httpx.AsyncClient, login: str = EMAIL, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/auth/login", json={"username": login, "password": password})


async def claim(client: httpx.AsyncClient, name: str) -> None:
    """Register an account with Anna's address; the response is the same as for a free address."""
    assert (await client.post("/users", json=registration(name, email=EMAIL))).status_code == 201


async def test_the_only_account_with_an_address_signs_in_with_it(client: httpx.AsyncClient, accounts: Accounts) -> None:
    await claim(client, "anna")
    response = await sign_in(client, "Anna@Example.com")
    assert (response.status_code, response.json()["username"]) == (200, "anna")
    # It is not confirmed by that.
    stored = "SELECT email_signs_in OR email_verified_at IS NOT NULL FROM users WHERE username = 'anna'"
    assert await accounts.scalar(stored) is False


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET full_name = 'B' WHERE username = 'ben'",
        "UPDATE users SET is_active = false WHERE username = 'ben'",
        "UPDATE users SET is_active = false, deleted_at = now() WHERE username = 'ben'",
        "UPDATE users SET email_signs_in = true, email_verified_at = now() WHERE username = 'ben'",
    ],
)
async def test_an_address_that_two_accounts_have_signs_in_only_the_one_that_confirmed_it(
    client: httpx.AsyncClient, accounts: Accounts, change: str
) -> None:
    await claim(client, "anna")
    await claim(client, "ben")
    await accounts.execute("UPDATE users SET password_hash = NULL WHERE username = 'ben'")
    await accounts.execute(change)
    response = await sign_in(client)
    assert (response.status_code, response.json()["type"]) == (401, "invalid-credentials")
    assert (await sign_in(client, "anna")).status_code == 200


async def test_an_address_signs_in_again_when_the_other_account_has_changed_its_own(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    await claim(client, "anna")
    await claim(client, "ben")
    await accounts.execute("UPDATE users SET email = 'ben@example.com' WHERE username = 'ben'")
    for login, username in ((EMAIL, "anna"), ("ben@example.com", "ben")):
        assert (await sign_in(client, login)).json()["username"] == username


CLOSE = "UPDATE users SET is_active = false"


@pytest.mark.parametrize(
    ("login", "password", "change", "reason"),
    [
        ("unknown", PASSWORD, None, "unknown"),
        ("unknown@example.com", PASSWORD, None, "unknown"),
        ("shared@example.com", PASSWORD, None, "unconfirmed-address"),
        ("anna", "wrong password", None, "wrong-password"),
        (EMAIL, "wrong password", None, "wrong-password"),
        ("anna", "wrong password", CLOSE, "wrong-password"),
        ("anna", PASSWORD, CLOSE, "inactive"),
        (EMAIL, PASSWORD, CLOSE, "inactive"),
        ("anna", PASSWORD, f"{CLOSE}, deleted_at = now()", "deleted"),
        ("anna", PASSWORD, "UPDATE users SET password_hash = NULL", "no-password"),
    ],
)
async def test_the_reason_of_a_refusal_is_in_the_audit_log_only(
    client: httpx.AsyncClient, accounts: Accounts, login: str, password: str, change: str | None, reason: str
) -> None:
    anna = await accounts.add("anna", verified=False)
    for name in ("ben", "kim"):
        assert (await client.post("/users", json=registration(name, email="shared@example.com"))).status_code == 201
    if change:
        await accounts.execute(change)
    response = await sign_in(client, login, password)
    unknown = await sign_in(client, "other", password)
    assert response.status_code == unknown.status_code == 401
    assert {**response.json(), "instance": ""} == {**unknown.json(), "instance": ""}
    assert set(response.headers) == set(unknown.headers)
    query = "SELECT details || jsonb_build_object('of', subject_id) FROM audit_events WHERE event = :event ORDER BY id"
    found = await accounts.scalar(query, event="session.refused")
    subject = None if reason in {"unknown", "unconfirmed-address"} else anna.id
    assert found == {"reason": reason, "of": subject}


CHANGE_PASSWORD = {"current_password": "wrong", "new_password": "a loud green tricycle"}
CHANGE_EMAIL = {"password": "wrong", "new_email": "new@example.com"}


@pytest.mark.parametrize(("path", "body"), [("password", CHANGE_PASSWORD), ("email", CHANGE_EMAIL)])
@pytest.mark.parametrize("has_password", [True, False])
async def test_a_refused_confirmation_is_recorded_with_its_reason(
    client: httpx.AsyncClient, accounts: Accounts, path: str, body: dict[str, str], has_password: bool
) -> None:
    anna = await accounts.add("anna")
    if not has_password:
        await accounts.execute("UPDATE users SET password_hash = NULL")
    assert (await client.post(f"/auth/change-{path}", json=body, headers=anna.headers)).status_code == 403
    query = "SELECT details FROM audit_events WHERE event = :event"
    found = await accounts.scalar(query, event=f"{path}.change_refused")
    assert found == {"reason": "wrong-password" if has_password else "no-password"}


async def test_looking_up_a_login_reads_no_table_in_full(accounts: Accounts) -> None:
    """Sign-in reads two indexes for a name and for an address, whether or not the address is confirmed."""
    await accounts.execute(
        "INSERT INTO users (username, email, email_signs_in) SELECT 'u' || n, 'u' || n || '@example.com', n % 2 = 0"
        " FROM generate_series(1, 5000) AS n"
    )
    await accounts.execute("ANALYZE users")
    async with accounts.app.state.database.reading() as connection:
        for login in ("u77", "u77@example.com", "u78@example.com"):
            plan = "\n".join((await connection.execute(text(f"EXPLAIN {_statement(login)}"))).scalars())
            assert "Seq Scan" not in plan, plan
            assert "ix_users_email_prefix" in plan, plan


def _statement(login: str) -> str:
    on = OF_LOGIN.replace(":login", f"'{login}'")
    return f"SELECT {SIGN_IN_COLUMNS} FROM (SELECT) AS attempt LEFT JOIN users ON {on}"  # noqa: S608 our own text
