"""When auth is asked about an API key, and for how long its answer is kept."""

import asyncio

import pytest
from credential_support import Auth, Setup, header, keyed_gateway, make_key, problem
from gateway_support import closed_port, headers_of, responding, serving
from kpi_gateway.credentials import grants
from starlette.responses import Response

pytestmark = pytest.mark.anyio


async def test_one_burst_makes_one_exchange(setup: Setup) -> None:
    key = make_key()
    setup.auth.gate.clear()
    burst = [asyncio.create_task(setup.client.get("/posts", headers=header(key))) for _ in range(20)]
    while not setup.auth.exchanged:  # noqa: ASYNC110 the stand-in has no event for it
        await asyncio.sleep(0.01)
    setup.auth.gate.set()
    assert {response.status_code for response in await asyncio.gather(*burst)} == {200}
    assert setup.auth.exchanged == [key]


async def test_an_exchange_is_kept_for_seconds_from_its_start(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "MAX_SECONDS", 0.3)
    key = make_key()
    setup.auth.gate.clear()
    first = asyncio.create_task(setup.client.get("/posts", headers=header(key)))
    # The exchange takes longer than it may be kept, so the next request needs another one.
    await asyncio.sleep(0.4)
    setup.auth.gate.set()
    assert (await first).status_code == 200
    assert (await setup.client.get("/posts", headers=header(key))).status_code == 200
    assert len(setup.auth.exchanged) == 2


async def test_while_auth_fails_a_key_that_is_kept_goes_on_and_others_get_503(setup: Setup) -> None:
    known = make_key(1)
    assert (await setup.client.get("/posts", headers=header(known))).status_code == 200
    for broken in (problem(503, "unavailable"), problem(401, "internal-key-required"), Response("{}"), Response("[1")):
        setup.auth.response = broken
        assert (await setup.client.get("/posts", headers=header(known))).status_code == 200
        refused = await setup.client.get("/posts", headers=header(make_key(2)))
        assert (refused.status_code, refused.json()["type"]) == (503, "api-keys-unavailable")
        assert refused.headers["retry-after"] == "1"


async def test_an_exchange_has_a_share_of_the_time_of_the_request() -> None:
    async with keyed_gateway(upstream_read_timeout=0.5) as setup:
        setup.auth.gate.clear()
        refused = await setup.client.get("/posts", headers=header(make_key()))
        setup.auth.gate.set()
        assert (refused.status_code, refused.json()["type"]) == (503, "api-keys-unavailable")
        assert int(setup.auth.timeouts[0]) < 400
        assert (await setup.client.get("/posts", headers=header(make_key()))).status_code == 200
        assert 0 < int(headers_of(setup.echo.seen[-1])["x-request-timeout"]) < 450


async def test_another_address_is_asked_if_one_is_down() -> None:
    auth = Auth()
    auth.gate.set()
    async with serving(responding(auth.respond)) as internal:
        urls = (closed_port(), internal)
        async with keyed_gateway(auth_internal_url=urls) as setup:
            responses = [await setup.client.get("/posts", headers=header(make_key(number + 1))) for number in range(4)]
    assert {response.status_code for response in responses} == {200}
    assert len(auth.exchanged) == 4


async def test_a_refused_key_is_asked_about_once(setup: Setup) -> None:
    setup.auth.response = problem(401, "invalid-api-key")
    key = make_key()
    for _ in range(3):
        refused = await setup.client.get("/posts", headers=header(key))
        assert (refused.status_code, refused.json()["type"]) == (401, "invalid-api-key")
    assert setup.auth.exchanged == [key]
