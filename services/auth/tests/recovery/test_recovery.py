"""Resetting a forgotten password."""

import httpx
import pytest
from auth_support import PASSWORD, Accounts, SentMail, code_of, configured, registration
from fastapi import FastAPI
from password_support import NEW, change, forgotten, reset, works
from sqlalchemy import text


async def test_a_reset_sets_the_password_and_ends_all_sessions_and_codes(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    anna = await accounts.add("anna")
    code = await forgotten(client, accounts)
    other = await forgotten(client, accounts)
    lifetime = "SELECT max(expires_at - created_at) = interval '15 minutes' FROM one_time_codes WHERE purpose = :of"
    assert await accounts.scalar(lifetime, of="reset_password")
    response = await reset(client, code)
    assert (response.status_code, response.headers["cache-control"], response.content) == (204, "no-store", b"")
    assert not await works(client, anna.headers)
    for used in (code, other):
        assert (await reset(client, used)).json()["type"] == "invalid-code"
    assert (await accounts.mails("anna@example.com"))[-1] == SentMail("password_changed", {"username": "anna"})
    events = [event for event in await accounts.events(anna.id) if event.startswith("password.")]
    assert events == ["password.reset_requested"] * 2 + ["password.reset"]
    assert await accounts.sign_in("anna", NEW)
    assert not await accounts.sign_in("anna", PASSWORD)


async def test_a_reset_verifies_the_address_that_its_code_was_sent_to(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    anna = await accounts.add("anna", verified=False)
    assert (await client.post("/users", json=registration("ben", email="anna@example.com"))).status_code == 201
    assert not await accounts.sign_in("anna@example.com", PASSWORD)
    assert (await reset(client, await forgotten(client, accounts))).status_code == 204
    assert await accounts.sign_in("anna@example.com", NEW)
    assert "email.verified" in await accounts.events(anna.id)


async def test_a_reset_takes_no_address_from_the_account_that_has_verified_it(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    await accounts.add("anna")
    assert (await client.post("/users", json=registration("ben", email="anna@example.com"))).status_code == 201
    await client.post("/auth/forgot-password", json={"username": "ben"})
    mail = (await accounts.mails("anna@example.com"))[-1]
    assert mail.values["username"] == "ben"
    assert (await reset(client, code_of(mail))).status_code == 204
    assert await accounts.sign_in("ben", NEW)
    assert await accounts.sign_in("anna@example.com", PASSWORD)


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE one_time_codes SET expires_at = now()",
        "UPDATE one_time_codes SET purpose = 'verify_email'",
        "UPDATE users SET is_active = false",
        "UPDATE users SET deleted_at = now()",
    ],
)
async def test_an_invalid_code_resets_nothing(client: httpx.AsyncClient, accounts: Accounts, spoil: str) -> None:
    anna = await accounts.add("anna")
    code = await forgotten(client, accounts)
    hashed = "SELECT password_hash FROM users WHERE id = :id"
    before = await accounts.scalar(hashed, id=anna.id)
    await accounts.execute(spoil)
    response = await reset(client, code)
    assert (response.status_code, response.json()["type"]) == (400, "invalid-code")
    assert await accounts.scalar(hashed, id=anna.id) == before


@pytest.mark.parametrize("password", ["anna", "anna_the_first", "anna_the_first@example.com", "iloveyou"])
async def test_a_refused_password_does_not_consume_the_code(
    client: httpx.AsyncClient, accounts: Accounts, password: str
) -> None:
    await accounts.add("anna_the_first")
    code = await forgotten(client, accounts, "anna_the_first")
    response = await reset(client, code, password)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["#/body/new_password"]
    assert (await reset(client, code)).status_code == 204


async def test_the_response_to_a_forgotten_password_is_the_same_for_every_account(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    for name in ("anna", "closed", "gone", "imported"):
        await accounts.add(name)
    await accounts.execute("UPDATE users SET is_active = false WHERE username = 'closed'")
    await accounts.execute("UPDATE users SET deleted_at = now() WHERE username = 'gone'")
    imported = (
        "UPDATE users SET email = NULL, email_verified_at = NULL, password_hash = NULL WHERE username = 'imported'"
    )
    await accounts.execute(imported)
    before = await accounts.scalar("SELECT count(*) FROM mails")
    names = ("closed", "gone", "imported", "nobody", "anna")
    bodies = [body for name in names for body in ({"username": name}, {"email": f"{name}@example.com"})]
    responses = [await client.post("/auth/forgot-password", json=body) for body in bodies]
    assert {(response.status_code, response.text) for response in responses} == {(202, '{"status":"accepted"}')}
    assert {tuple(sorted(set(response.headers))) for response in responses} == {
        tuple(sorted(set(responses[0].headers)))
    }
    assert await accounts.scalar("SELECT count(*) FROM mails") == int(str(before)) + 2
    assert [mail.template for mail in await accounts.mails("anna@example.com")][-2:] == ["reset_password"] * 2
    # A request for an unknown account is recorded as well.
    assert (await accounts.events(None)).count("password.reset_requested") == 8


async def test_by_address_the_code_is_for_the_account_that_signs_in_with_it(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    for name in ("first", "second", "third"):
        response = await client.post("/users", json=registration(name, email="one@example.com"))
        assert response.status_code == 201
    body = {"email": "ONE@example.com"}
    await client.post("/auth/forgot-password", json=body)
    assert (await accounts.mails("one@example.com"))[-1].values["username"] == "first"
    await accounts.execute("UPDATE users SET is_active = false WHERE username = 'first'")
    await client.post("/auth/forgot-password", json=body)
    assert (await accounts.mails("one@example.com"))[-1].values["username"] == "second"
    verify = "UPDATE users SET email_signs_in = true, email_verified_at = now() WHERE username = 'third'"
    await accounts.execute(verify)
    # Three registrations and two requests reach the limit of one address in an hour.
    await client.post("/auth/forgot-password", json=body)
    assert len(await accounts.mails("one@example.com")) == 5
    await accounts.execute("DELETE FROM attempts")
    await client.post("/auth/forgot-password", json=body)
    assert (await accounts.mails("one@example.com"))[-1].values["username"] == "third"


async def test_no_code_and_no_password_is_stored_or_logged(
    client: httpx.AsyncClient,
    accounts: Accounts,
    app: FastAPI,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    anna = await accounts.add("anna", verified=False)
    secrets = [PASSWORD, NEW, "a wrong password", code_of((await accounts.mails("anna@example.com"))[0])]
    await change(client, anna.headers, current_password="a wrong password")
    await client.post("/auth/resend-verification", json={"username": "anna"})
    secrets.append(code_of((await accounts.mails("anna@example.com"))[-1]))
    email_change = {"password": PASSWORD, "new_email": "new@example.com"}
    await client.post("/auth/change-email", json=email_change, headers=anna.headers)
    secrets.append(code_of((await accounts.mails("new@example.com"))[-1]))
    secrets.append(await forgotten(client, accounts))
    kept = await _whole_database(app)
    assert "anna@example.com" in kept
    assert (await reset(client, secrets[-1])).status_code == 204
    everything = kept + await _whole_database(app) + "".join(capsys.readouterr()) + caplog.text
    assert "password.reset" in everything
    assert [secret for secret in secrets if secret in everything] == []


async def _whole_database(app: FastAPI) -> str:
    async with app.state.database.reading() as connection:
        tables = (
            await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        ).scalars()
        rows = [
            (await connection.execute(text(f'SELECT CAST("{name}" AS text) FROM "{name}"'))).scalars().all()  # noqa: S608
            for name in list(tables)
        ]
    return "\n".join(str(row) for table in rows for row in table)


async def test_a_reset_removes_the_external_identity_of_an_account_with_another_persons_address(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    """The account was created with an external token and another person's address, whose owner now resets it."""
    anna = await accounts.add("anna", verified=False)
    await accounts.execute(
        "INSERT INTO outside_identities (user_id, issuer, subject) VALUES (:id, 'https://id.example.com', 'x')",
        id=anna.id,
    )
    await client.post("/auth/forgot-password", json={"email": "anna@example.com"})
    code = code_of((await accounts.mails("anna@example.com"))[-1])
    body = {"code": code, "new_password": "a loud green tricycle"}
    assert (await client.post("/auth/reset-password", json=body)).status_code == 204
    assert await accounts.scalar("SELECT count(*) FROM outside_identities WHERE user_id = :id", id=anna.id) == 0
    assert (await accounts.events(anna.id))[-1] == "identity.unlinked"


async def test_no_notice_is_sent_to_an_unverified_address(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna", verified=False)
    change = {"current_password": PASSWORD, "new_password": "a loud green tricycle"}
    assert (await client.post("/auth/change-password", json=change, headers=anna.headers)).status_code == 204
    assert [mail.template for mail in await accounts.mails("anna@example.com")] == ["verify_email"]


async def test_a_reset_lifts_the_limits_on_failed_sign_ins(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI
) -> None:
    await accounts.add("anna")
    with configured(app, failures_per_account=2):
        for _ in range(3):
            await client.post("/auth/login", json={"username": "anna", "password": "guessed"})
        assert not await accounts.sign_in("anna", PASSWORD)
        await client.post("/auth/forgot-password", json={"email": "anna@example.com"})
        code = code_of((await accounts.mails("anna@example.com"))[-1])
        body = {"code": code, "new_password": "a loud green tricycle"}
        assert (await client.post("/auth/reset-password", json=body)).status_code == 204
        assert await accounts.sign_in("anna", "a loud green tricycle")


@pytest.mark.parametrize("login", ["anna", "anna@example.com"])
async def test_who_reads_the_verified_address_is_not_kept_out_by_further_guesses(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI, login: str
) -> None:
    await accounts.add("anna")
    here = {"X-Forwarded-For": "198.51.100.7"}

    async def guess() -> int:
        body, crowd = {"username": login, "password": "guessed"}, [f"203.0.113.{number}" for number in range(3)]
        sent = [await client.post("/auth/login", json=body, headers={"X-Forwarded-For": each}) for each in crowd]
        return sent[-1].status_code

    with configured(app, failures_per_account=2):
        assert await guess() == 429
        await client.post("/auth/forgot-password", json={"email": "anna@example.com"}, headers=here)
        code = code_of((await accounts.mails("anna@example.com"))[-1])
        body = {"code": code, "new_password": "a loud green tricycle"}
        assert (await client.post("/auth/reset-password", json=body, headers=here)).status_code == 204
        assert await guess() == 429
        body = {"username": login, "password": "a loud green tricycle"}
        assert (await client.post("/auth/login", json=body, headers=here)).status_code == 200
