"""Verifying an e-mail address, and changing it."""

import httpx
import pytest
from auth_support import PASSWORD, Accounts, SentMail, code_of, configured, registration
from fastapi import FastAPI

NEW = "new@example.com"


async def verify(client: httpx.AsyncClient, code: str) -> httpx.Response:
    return await client.post("/auth/verify-email", json={"code": code})


async def register(client: httpx.AsyncClient, accounts: Accounts, name: str, email: str) -> tuple[int, str]:
    """Register, and return the id and the code that was sent."""
    response = await client.post("/users", json=registration(name, email=email))
    assert response.status_code == 201, response.text
    return response.json()["id"], code_of((await accounts.mails(email))[-1])


async def change(client: httpx.AsyncClient, headers: dict[str, str], email: str = NEW) -> httpx.Response:
    return await client.post("/auth/change-email", json={"password": PASSWORD, "new_email": email}, headers=headers)


async def test_the_code_verifies_the_address_once_and_then_it_signs_in(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    user_id, code = await register(client, accounts, "anna", "anna@example.com")
    # While another account claims the address, it signs in neither.
    await register(client, accounts, "ben", "anna@example.com")
    assert not await accounts.sign_in("anna@example.com", PASSWORD)
    version = "SELECT version FROM users WHERE id = :id"
    before = await accounts.scalar(version, id=user_id)
    first, again = await verify(client, f" {code}\n"), await verify(client, code)
    assert (first.status_code, first.headers["cache-control"], first.content) == (204, "no-store", b"")
    assert (again.status_code, again.json()["type"]) == (400, "invalid-code")
    assert await accounts.sign_in("anna@example.com", PASSWORD)
    assert await accounts.scalar(version, id=user_id) != before
    assert (await accounts.events(user_id))[:2] == ["user.registered", "email.verified"]


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE one_time_codes SET expires_at = now()",
        "UPDATE one_time_codes SET purpose = 'reset_password'",
        "UPDATE users SET is_active = false",
        "UPDATE users SET deleted_at = now()",
    ],
)
async def test_an_invalid_code_changes_nothing(client: httpx.AsyncClient, accounts: Accounts, spoil: str) -> None:
    user_id, code = await register(client, accounts, "anna", "anna@example.com")
    await accounts.execute(spoil)
    response = await verify(client, code)
    assert (response.status_code, response.json()["type"]) == (400, "invalid-code")
    assert await accounts.scalar("SELECT email_verified_at IS NULL FROM users WHERE id = :id", id=user_id)


async def test_a_verification_code_expires_after_a_day(client: httpx.AsyncClient, accounts: Accounts) -> None:
    await register(client, accounts, "anna", "anna@example.com")
    assert await accounts.scalar("SELECT expires_at - created_at = interval '24 hours' FROM one_time_codes")


@pytest.mark.parametrize("code", ["", " ", "x" * 201, "nul\0", 5, None])
async def test_a_malformed_code_is_refused(client: httpx.AsyncClient, code: object) -> None:
    assert (await client.post("/auth/verify-email", json={"code": code})).status_code == 422


async def test_the_first_account_that_verifies_a_shared_address_gets_it(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    anna, annas = await register(client, accounts, "anna", "one@example.com")
    _ben, bens = await register(client, accounts, "ben", "one@example.com")
    assert (await verify(client, annas)).status_code == 204
    late = await verify(client, bens)
    assert (late.status_code, late.json()["type"]) == (400, "invalid-code")
    assert await accounts.scalar("SELECT id FROM users WHERE email = 'one@example.com' AND email_signs_in") == anna
    # Another request notifies the owner of the address.
    await client.post("/auth/resend-verification", json={"username": "ben"})
    assert (await accounts.mails("one@example.com"))[-1] == SentMail("address_in_use", {"username": "anna"})


async def test_an_earlier_link_is_accepted_if_the_address_is_verified_already(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    user_id, first = await register(client, accounts, "anna", "anna@example.com")
    assert (await client.post("/auth/resend-verification", json={"email": "Anna@example.com"})).status_code == 202
    second = code_of((await accounts.mails("anna@example.com"))[-1])
    assert (await verify(client, second)).status_code == 204
    assert (await verify(client, first)).status_code == 204
    assert await accounts.events(user_id) == ["user.registered", "email.verification_sent", "email.verified"]


async def test_the_response_to_resending_is_the_same_for_every_account(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    for name in ("closed", "gone", "imported"):
        await register(client, accounts, name, f"{name}@example.com")
    await register(client, accounts, "anna", "anna@example.com")
    await accounts.add("verified")
    await accounts.execute("UPDATE users SET is_active = false WHERE username = 'closed'")
    await accounts.execute("UPDATE users SET deleted_at = now() WHERE username = 'gone'")
    await accounts.execute("UPDATE users SET email = NULL, password_hash = NULL WHERE username = 'imported'")
    count = "SELECT count(*) FROM mails"
    codes = "SELECT count(*) FROM one_time_codes"
    before = (await accounts.scalar(count), await accounts.scalar(codes))
    for name in ("closed", "gone", "imported", "verified", "nobody"):
        for body in ({"username": name}, {"email": f"{name}@example.com"}, {"username": f"{name}@example.com"}):
            response = await client.post("/auth/resend-verification", json=body)
            assert (response.status_code, response.json()) == (202, {"status": "accepted"})
            assert response.headers["cache-control"] == "no-store"
    assert (await accounts.scalar(count), await accounts.scalar(codes)) == before
    known = await client.post("/auth/resend-verification", json={"username": "ANNA"})
    assert (known.status_code, known.json()) == (202, {"status": "accepted"})
    assert [mail.template for mail in await accounts.mails("anna@example.com")] == ["verify_email"] * 2


@pytest.mark.parametrize("path", ["resend-verification", "forgot-password"])
@pytest.mark.parametrize("body", [{}, {"username": "a", "email": "a@example.com"}, {"username": ""}, {"name": "a"}])
async def test_exactly_one_of_username_and_email_is_required(
    client: httpx.AsyncClient, path: str, body: dict[str, str]
) -> None:
    assert (await client.post(f"/auth/{path}", json=body)).status_code == 422


@pytest.mark.parametrize("path", ["resend-verification", "forgot-password"])
async def test_requested_e_mails_are_limited_by_recipient_and_by_client(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI, path: str
) -> None:
    await accounts.add("anna", verified=False)
    with configured(app, mails_per_account=3, mails_per_address=5):
        names = ("anna", "anna", "anna", "other", "anna", "third")
        responses = [await client.post(f"/auth/{path}", json={"username": name}) for name in names]
    assert [response.status_code for response in responses] == [202] * 5 + [429]
    # The e-mail of the registration and two more: no more are sent, and the response does not disclose it.
    assert len(await accounts.mails("anna@example.com")) == 3


async def test_operations_that_need_mail_are_refused_without_it(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI
) -> None:
    anna = await accounts.add("anna")
    with configured(app, mail_url=None):
        responses = [
            await client.post("/auth/resend-verification", json={"username": "anna"}),
            await client.post("/auth/forgot-password", json={"username": "anna"}),
            await change(client, anna.headers),
        ]
    assert [(response.status_code, response.json()["type"]) for response in responses] == [
        (503, "mail-not-configured")
    ] * 3


async def test_an_address_changes_when_the_new_one_is_confirmed(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    await client.post("/auth/forgot-password", json={"username": "anna"})
    reset = code_of((await accounts.mails("anna@example.com"))[-1])
    response = await change(client, anna.headers, "NEW@example.com")
    assert (response.status_code, response.json()) == (202, {"status": "accepted"})
    [confirm] = await accounts.mails(NEW)
    assert (confirm.template, set(confirm.values)) == ("confirm_email", {"username", "link"})
    assert confirm.values["link"].startswith("http://127.0.0.1:8000/auth/verify-email#code=")
    warning = SentMail("email_change_requested", {"username": "anna", "new_email": NEW})
    assert (await accounts.mails("anna@example.com"))[-1] == warning
    # Nothing has changed yet.
    assert await accounts.sign_in("anna@example.com", PASSWORD)
    assert not await accounts.sign_in(NEW, PASSWORD)

    assert (await verify(client, code_of(confirm))).status_code == 204
    changed = SentMail("email_changed", {"username": "anna", "new_email": NEW})
    assert (await accounts.mails("anna@example.com"))[-1] == changed
    assert await accounts.sign_in(NEW, PASSWORD)
    assert not await accounts.sign_in("anna@example.com", PASSWORD)
    # Sessions continue, and earlier codes are invalid.
    assert (await client.get("/auth/me", headers=anna.headers)).json()["email"] == NEW
    assert await accounts.scalar("SELECT count(*) FROM one_time_codes") == 0
    late = await client.post("/auth/reset-password", json={"code": reset, "new_password": "a new red bicycle"})
    assert late.status_code == 400
    events = [event for event in await accounts.events(anna.id) if event.startswith("email.")]
    assert events == ["email.change_requested", "email.changed"]


async def test_a_wrong_password_changes_no_address_and_is_recorded(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    anna = await accounts.add("anna")
    body = {"password": "wrong password", "new_email": NEW}
    response = await client.post("/auth/change-email", json=body, headers=anna.headers)
    assert (response.status_code, response.json()["type"]) == (403, "wrong-password")
    assert (await accounts.events(anna.id))[-1] == "email.change_refused"
    assert await accounts.mails(NEW) == []


async def test_an_expired_code_changes_no_address(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    await change(client, anna.headers)
    code = code_of((await accounts.mails(NEW))[-1])
    await accounts.execute("UPDATE one_time_codes SET expires_at = now()")
    assert (await verify(client, code)).status_code == 400
    assert (await client.get("/auth/me", headers=anna.headers)).json()["email"] == "anna@example.com"


async def test_whether_an_address_is_taken_is_disclosed_to_its_owner_only(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    anna, _ben = await accounts.add("anna"), await accounts.add("ben")
    free, taken = await change(client, anna.headers), await change(client, anna.headers, "ben@example.com")
    assert (free.status_code, free.json()) == (taken.status_code, taken.json())
    assert set(free.headers) == set(taken.headers)
    assert (await accounts.mails("ben@example.com"))[-1] == SentMail("address_in_use", {"username": "ben"})
    assert [mail.template for mail in await accounts.mails("anna@example.com")][1:] == ["email_change_requested"] * 2


async def test_a_change_does_not_take_an_address_that_another_account_has_verified(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    anna = await accounts.add("anna")
    await change(client, anna.headers)
    code = code_of((await accounts.mails(NEW))[-1])
    _ben, bens = await register(client, accounts, "ben", NEW)
    assert (await verify(client, bens)).status_code == 204
    response = await verify(client, code)
    assert (response.status_code, response.json()["type"]) == (400, "invalid-code")
    assert (await client.get("/auth/me", headers=anna.headers)).json()["email"] == "anna@example.com"


async def test_a_change_to_the_current_address_is_refused(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    response = await change(client, anna.headers, "Anna@Example.com")
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["#/body/new_email"]


async def test_verification_takes_an_address_from_an_account_that_only_claimed_it(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    """If registration discloses addresses, an unverified address signs in, which must not block its owner."""
    squatter = await accounts.add("squatter", verified=False)
    take = "UPDATE users SET email = 'anna@example.com', email_signs_in = true WHERE id = :id"
    await accounts.execute(take, id=squatter.id)
    anna = await accounts.add("anna", verified=False)
    resent = await client.post("/auth/resend-verification", json={"username": "anna"})
    assert resent.status_code == 202
    code = next(m.values["link"] for m in await accounts.mails("anna@example.com") if "link" in m.values)
    assert (await client.post("/auth/verify-email", json={"code": code.rpartition("=")[2]})).status_code == 204
    assert await accounts.scalar("SELECT email_signs_in FROM users WHERE id = :id", id=anna.id) is True
    assert await accounts.scalar("SELECT email_signs_in FROM users WHERE id = :id", id=squatter.id) is False
