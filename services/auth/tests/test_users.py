"""Registration, and who sees what of a user."""

import httpx
import pytest
from auth_support import ALL_FIELDS, PASSWORD, PUBLIC_FIELDS, Accounts, registration


async def test_registration_answers_the_user_and_never_a_hash(client: httpx.AsyncClient) -> None:
    answer = await client.post("/users", json=registration("Anna", email="Anna@Example.COM"))
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert shown["username"] == "Anna"
    assert shown["email"] == "anna@example.com"
    assert (shown["role"], shown["is_active"]) == ("user", True)
    assert set(shown) == ALL_FIELDS
    assert "argon2" not in answer.text
    assert PASSWORD not in answer.text


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
        ("role", "admin"),
        ("id", 1),
    ],
)
async def test_a_bad_field_is_named(client: httpx.AsyncClient, field: str, value: object) -> None:
    answer = await client.post("/users", json={**registration("anna"), field: value})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"#/body/{field}"]


@pytest.mark.parametrize("password", ["anna_the_first", "anna@example.com", "ANNA@example.com"])
async def test_a_password_is_not_a_name_of_its_owner(client: httpx.AsyncClient, password: str) -> None:
    body = {"username": "anna_the_first", "email": "anna@example.com", "password": password}
    answer = await client.post("/users", json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["#/body/password"]


@pytest.mark.parametrize("password", [" spaces count ", "日本語のパスワードです", "p" * 256])
async def test_a_password_is_taken_as_it_is(client: httpx.AsyncClient, accounts: Accounts, password: str) -> None:
    answer = await client.post("/users", json={**registration("anna"), "password": password})
    assert answer.status_code == 201, answer.text
    assert await accounts.sign_in("anna", password)
    assert not await accounts.sign_in("anna", password + " ")


async def test_a_body_that_repeats_no_password_back(client: httpx.AsyncClient) -> None:
    answer = await client.post("/users", json={"username": "x", "password": "swordfish-77", "email": "e"})
    assert answer.status_code == 422
    assert "swordfish-77" not in answer.text


@pytest.mark.parametrize(
    ("again", "field"),
    [
        (registration("ANNA", email="other@example.com"), "username"),
        (registration("\uff41\uff4e\uff4e\uff41", email="other@example.com"), "username"),
        (registration("other", email="ANNA@example.com"), "email"),
        (registration("other", email="anna@EXAMPLE.com"), "email"),
    ],
)
async def test_a_taken_name_is_a_conflict_that_names_the_field(
    client: httpx.AsyncClient, again: dict[str, str], field: str
) -> None:
    assert (await client.post("/users", json=registration("anna"))).status_code == 201
    answer = await client.post("/users", json=again)
    assert answer.status_code == 409
    assert answer.json()["type"] == f"{field}-taken"
    assert answer.json()["errors"][0]["pointer"] == f"#/body/{field}"


async def test_others_do_not_see_the_email(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna, ben = await accounts.add("anna"), await accounts.add("ben")
    own = await client.get(f"/users/{anna.id}", headers=anna.headers)
    assert own.json()["email"] == "anna@example.com"
    seen = await client.get(f"/users/{anna.id}", headers=ben.headers)
    assert set(seen.json()) == PUBLIC_FIELDS
    by_admin = await client.get(f"/users/{anna.id}", headers=(await accounts.add_admin()).headers)
    assert by_admin.json()["email"] == "anna@example.com"


async def test_a_user_needs_a_token_to_be_seen(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    answer = await client.get(f"/users/{anna.id}")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="kpi-one"'


@pytest.mark.parametrize(
    ("user_id", "status"), [("999999", 404), ("0", 422), ("-1", 422), (str(2**63), 422), ("x", 422)]
)
async def test_an_unknown_user(client: httpx.AsyncClient, accounts: Accounts, user_id: str, status: int) -> None:
    anna = await accounts.add("anna")
    answer = await client.get(f"/users/{user_id}", headers=anna.headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_deleted_user_is_not_found(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna, ben = await accounts.add("anna"), await accounts.add("ben")
    await accounts.execute("UPDATE users SET deleted_at = now() WHERE id = :id", id=anna.id)
    assert (await client.get(f"/users/{anna.id}", headers=ben.headers)).status_code == 404
    assert (await client.get("/auth/me", headers=anna.headers)).status_code == 401
