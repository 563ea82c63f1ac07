"""Which fields of a user each caller sees."""

import httpx
import pytest
from auth_support import PUBLIC_FIELDS, Accounts


async def test_other_users_do_not_see_the_email(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna, ben = await accounts.add("anna"), await accounts.add("ben")
    own = await client.get(f"/users/{anna.id}", headers=anna.headers)
    assert own.json()["email"] == "anna@example.com"
    seen = await client.get(f"/users/{anna.id}", headers=ben.headers)
    assert set(seen.json()) == PUBLIC_FIELDS
    by_admin = await client.get(f"/users/{anna.id}", headers=(await accounts.add_admin()).headers)
    assert by_admin.json()["email"] == "anna@example.com"


async def test_reading_a_user_requires_a_token(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    response = await client.get(f"/users/{anna.id}")
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="kpi-one"'


@pytest.mark.parametrize(
    ("user_id", "status"), [("999999", 404), ("0", 422), ("-1", 422), (str(2**63), 422), ("x", 422)]
)
async def test_an_unknown_user(client: httpx.AsyncClient, accounts: Accounts, user_id: str, status: int) -> None:
    anna = await accounts.add("anna")
    response = await client.get(f"/users/{user_id}", headers=anna.headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_deleted_user_is_not_found(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna, ben = await accounts.add("anna"), await accounts.add("ben")
    await accounts.execute("UPDATE users SET deleted_at = now() WHERE id = :id", id=anna.id)
    assert (await client.get(f"/users/{anna.id}", headers=ben.headers)).status_code == 404
    assert (await client.get("/auth/me", headers=anna.headers)).status_code == 401
