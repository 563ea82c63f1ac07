"""Changes of accounts that no other part sees are events as well: copies have the versions of the table."""

from typing import Any

import httpx
from auth_support import Accounts
from kpi_auth.accounts import email_repository
from sqlalchemy import text

_read = text("""
    SELECT type, account_id, data -> 'version' AS version FROM events WHERE type <> 'account.created' ORDER BY id
""")


async def read_changes(accounts: Accounts) -> list[tuple[Any, ...]]:
    async with accounts.context.database.reading() as connection:
        return [tuple(row) for row in await connection.execute(_read)]


async def test_a_profile(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    assert (await client.patch(f"/users/{anna.id}", json={"bio": "Sails"}, headers=anna.headers)).status_code == 200
    assert await read_changes(accounts) == [("account.changed", anna.id, 2)]
    # Nothing is changed by the same values again.
    assert (await client.patch(f"/users/{anna.id}", json={"bio": "Sails"}, headers=anna.headers)).status_code == 200
    assert await read_changes(accounts) == [("account.changed", anna.id, 2)]


async def test_an_address_and_the_accounts_that_only_claimed_it(accounts: Accounts) -> None:
    anna, berta = await accounts.add("anna"), await accounts.add("berta")
    claim = """
        UPDATE users SET email = 'both@example.com', email_verified_at = null, email_signs_in = (id = :berta)
        WHERE id IN (:anna, :berta)
    """
    await accounts.execute(claim, anna=anna.id, berta=berta.id)
    async with accounts.context.database.writing() as connection:
        assert await email_repository.verify(connection, user_id=anna.id, email="both@example.com")
        assert await email_repository.change(connection, user_id=berta.id, email="new@example.com")
        assert not await email_repository.change(connection, user_id=berta.id, email="both@example.com")
    assert await read_changes(accounts) == [
        *(("account.changed", berta.id, 2), ("account.changed", anna.id, 2), ("account.changed", berta.id, 3))
    ]
