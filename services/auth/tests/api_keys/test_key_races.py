"""Requests that change keys at the same moment, on connections of their own."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from auth_support import Account, Accounts
from fastapi import FastAPI
from key_support import Keys

CHANGES = 30


@pytest.fixture
def keys(running_app: FastAPI, shared_client: httpx.AsyncClient) -> Keys:
    return Keys(running_app, shared_client)


async def rename(client: httpx.AsyncClient, caller: Account, key_id: int, found: Counter[int]) -> None:
    for number in range(CHANGES):
        body = {"name": f"{caller.id} {number}"}
        response = await client.patch(f"/api-keys/{key_id}", json=body, headers=caller.headers)
        found[response.status_code] += 1


async def test_an_owner_and_admins_change_keys_at_once_without_a_deadlock(
    shared_accounts: Accounts, shared_client: httpx.AsyncClient, keys: Keys
) -> None:
    """Each request locks the accounts of its caller and of the key's owner, in the order of their ids."""
    first, second = await shared_accounts.add_admin(), await shared_accounts.add_admin("second")
    bert = await shared_accounts.add("bert")
    owned = [(await keys.add(person)).id for person in (first, bert, second)]
    found: Counter[int] = Counter()
    callers = [(first, owned[2]), (second, owned[0]), (first, owned[1]), (bert, owned[1]), (second, owned[1])]
    await asyncio.gather(*(rename(shared_client, person, key_id, found) for person, key_id in callers))
    assert found == {200: CHANGES * len(callers)}


async def test_a_rotation_decides_when_a_key_ends(
    shared_accounts: Accounts, shared_client: httpx.AsyncClient, keys: Keys
) -> None:
    bert = await shared_accounts.add("bert")
    key = await keys.add(bert)
    rotated = await shared_client.post(f"/api-keys/{key.id}/rotate", json={"grace_seconds": 0}, headers=bert.headers)
    assert rotated.status_code == 201
    for end in (None, (datetime.now(UTC) + timedelta(days=1)).isoformat()):
        response = await shared_client.patch(f"/api-keys/{key.id}", json={"expires_at": end}, headers=bert.headers)
        assert response.status_code == 409
        assert (await keys.exchange(key.text)).status_code == 401
