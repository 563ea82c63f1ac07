"""Keys that are exchanged together."""

import asyncio

import httpx
import pytest
from credential_support import Setup, header, make_key
from kpi_gateway.credentials import batches
from starlette.responses import Response

pytestmark = pytest.mark.anyio


async def send_together(setup: Setup, keys: list[str]) -> list[httpx.Response]:
    """Requests that come while auth is asked about another key."""
    setup.auth.gate.clear()
    first = asyncio.create_task(setup.client.get("/posts", headers=header(make_key(999))))
    while not setup.auth.exchanged:  # noqa: ASYNC110 the stand-in has no event for it
        await asyncio.sleep(0.01)
    others = [asyncio.create_task(setup.client.get("/posts", headers=header(key))) for key in keys]
    await asyncio.sleep(0.1)
    setup.auth.gate.set()
    assert (await first).status_code == (503 if setup.auth.response else 200)
    return await asyncio.gather(*others)


async def test_keys_that_come_during_an_exchange_are_exchanged_together(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PATIENCE_SECONDS", 20)
    monkeypatch.setattr(batches, "MAX_KEYS", 4)
    found = await send_together(setup, [make_key(number + 1) for number in range(6)])
    assert {response.status_code for response in found} == {200}
    assert sorted(setup.auth.batches) == [1, 2, 4]


async def test_each_key_of_a_batch_has_its_own_outcome(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PATIENCE_SECONDS", 20)
    good, wrong, broken = (make_key(number + 1) for number in range(3))
    setup.auth.results = {wrong: None, broken: {"key_id": 3}}
    found = await send_together(setup, [wrong, good, broken])
    assert [response.status_code for response in found] == [401, 200, 503]
    assert setup.auth.batches == [1, 3]
    assert [(await setup.client.get("/posts", headers=header(key))).status_code for key in (good, wrong)] == [200, 401]
    assert setup.auth.batches == [1, 3]


async def test_auth_of_an_earlier_version_is_asked_about_each_key(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PATIENCE_SECONDS", 20)
    setup.auth.is_old = True
    found = await send_together(setup, [make_key(number + 1) for number in range(3)])
    assert {response.status_code for response in found} == {200}
    assert setup.auth.batches == [1, 1, 1, 1]


async def test_all_keys_of_a_batch_get_503_if_auth_fails(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PATIENCE_SECONDS", 20)
    setup.auth.response = Response("{}")
    found = await send_together(setup, [make_key(number + 1) for number in range(3)])
    assert {(it.status_code, it.json()["type"]) for it in found} == {(503, "api-keys-unavailable")}
    assert setup.auth.batches == [1, 3]


async def test_an_exchange_that_hangs_holds_no_others(setup: Setup) -> None:
    setup.auth.gate.clear()
    sent = []
    for number in range(3):
        sent.append(asyncio.create_task(setup.client.get("/posts", headers=header(make_key(number + 1)))))
        while len(setup.auth.exchanged) <= number:  # noqa: ASYNC110 the stand-in has no event for it
            await asyncio.sleep(0.01)
    setup.auth.gate.set()
    assert {response.status_code for response in await asyncio.gather(*sent)} == {200}
    assert setup.auth.batches == [1, 1, 1]
