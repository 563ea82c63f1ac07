"""The bounded pool that hashes."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import httpx
import pytest
from auth_support import PASSWORD, Accounts, registration
from fastapi import FastAPI
from kpi_auth.hashing.askers import Asker, Familiar
from kpi_auth.hashing.errors import HashingBusyError
from kpi_auth.hashing.hasher import PasswordHasher, Place
from kpi_auth.origin import Origin
from kpi_auth.settings import AuthSettings
from kpi_shared.telemetry.metrics import Metrics
from kpi_shared.testing.metrics import Scrape
from prometheus_client import generate_latest


@pytest.fixture
def small(settings: AuthSettings) -> Iterator[PasswordHasher]:
    hasher = PasswordHasher(settings.model_copy(update={"hash_workers": 1, "hash_queue": 2}))
    yield hasher
    hasher.close()


@contextmanager
def _occupy(hasher: PasswordHasher) -> Iterator[None]:
    """Keep the pool's one thread busy until the block ends."""
    release = threading.Event()
    hasher._pool.submit(release.wait)
    try:
        yield
    finally:
        release.set()


async def _filled(hasher: PasswordHasher) -> None:
    """Wait until all three places of ``small`` are taken."""
    async with asyncio.timeout(30):
        while hasher._numbers()["running",] + hasher._numbers()["waiting",] < 3:  # noqa: ASYNC110 there is no event
            await asyncio.sleep(0.001)


async def test_a_full_queue_refuses_and_recovers(small: PasswordHasher) -> None:
    with _occupy(small):
        waiting = [asyncio.create_task(small.hash(PASSWORD)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(HashingBusyError):
            await small.hash(PASSWORD)
    assert len(await asyncio.gather(*waiting)) == 3
    assert await small.verify(PASSWORD, await small.hash(PASSWORD))


async def test_an_unused_place_is_released(small: PasswordHasher) -> None:
    for _ in range(10):
        with await small.take_place(), await small.take_place():
            waiting = asyncio.create_task(small.take_place())
            await asyncio.sleep(0)
            with pytest.raises(HashingBusyError):
                await small.take_place()
        with await waiting:
            pass


async def test_a_cancelled_caller_keeps_its_place_until_its_hash_is_done(small: PasswordHasher) -> None:
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait()

    running = asyncio.create_task((await small.take_place()).run(work))
    waiting = [asyncio.create_task(small.hash(PASSWORD)) for _ in range(2)]
    # The other tasks take their places in the first turn of the loop, which this one waits for too.
    await asyncio.to_thread(begun.wait, 60)
    running.cancel()
    await asyncio.wait([running])
    with pytest.raises(HashingBusyError):
        await small.hash(PASSWORD)
    release.set()
    assert len(await asyncio.gather(*waiting)) == 2


async def test_a_busy_pool_is_a_503_that_delays_no_other_request(
    app: FastAPI, client: httpx.AsyncClient, accounts: Accounts, small: PasswordHasher
) -> None:
    anna = await accounts.add("anna")
    own, app.state.hasher = app.state.hasher, small
    try:
        with _occupy(small):
            waiting = [asyncio.create_task(accounts.sign_in("anna", PASSWORD)) for _ in range(3)]
            await _filled(small)
            refused = await client.post("/auth/login", json={"username": "anna", "password": PASSWORD})
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["type"] == "hashing-busy"
            assert (await client.get("/auth/me", headers=anna.headers)).status_code == 200
        assert all(await asyncio.gather(*waiting))
        with _occupy(small):
            added = [
                asyncio.create_task(client.post("/users", json=registration(name))) for name in ("cleo", "dora", "emil")
            ]
            await _filled(small)
            assert (await client.post("/users", json=registration("ben"))).status_code == 503
        assert {response.status_code for response in await asyncio.gather(*added)} == {201}
    finally:
        app.state.hasher = own


async def test_no_connection_is_held_while_a_password_is_hashed(
    app: FastAPI, client: httpx.AsyncClient, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accounts.add("anna")
    held = []
    run = Place.run

    async def watched(self: Place, work: Callable[[], object]) -> object:
        held.append(app.state.database.is_in_use)
        return await run(self, work)

    monkeypatch.setattr(Place, "run", watched)
    assert await accounts.sign_in("anna", PASSWORD)
    assert (await client.post("/users", json=registration("ben"))).status_code == 201
    assert held == [False, False]


async def test_verification_without_a_hash_fails_and_still_hashes(small: PasswordHasher) -> None:
    assert not await small.verify(PASSWORD, None)
    assert not await small.verify(PASSWORD, "not a hash at all")


async def test_metrics_show_running_waiting_and_refused_hashes(small: PasswordHasher) -> None:
    metrics = Metrics("auth")
    small.register_metrics(metrics)
    with _occupy(small), await small.take_place(), await small.take_place():
        waiting = asyncio.create_task(small.take_place())
        await asyncio.sleep(0)
        with pytest.raises(HashingBusyError):
            small.check_room()
        found = Scrape(generate_latest(metrics.registry).decode())
    with await waiting:
        pass
    states = {state: found.value("kpi_auth_hashes", state=state) for state in ("room", "running", "waiting")}
    assert states == {"room": 3, "running": 1, "waiting": 2}
    assert found.value("kpi_auth_hashes_refused_total") == 1


async def _fill(hasher: PasswordHasher, *askers: Asker) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(hasher.hash(PASSWORD, by=asker)) for asker in askers]
    await _filled(hasher)
    return tasks


FLOOD = Origin(ip_address("198.51.100.1"), None, "")
ELSEWHERE = Origin(ip_address("203.0.113.1"), None, "")


async def test_a_flood_from_one_address_keeps_no_other_address_out(small: PasswordHasher) -> None:
    with _occupy(small):
        flood = await _fill(small, *[Asker.of(FLOOD, login=name) for name in ("a", "b", "c")])
        with pytest.raises(HashingBusyError):
            small.check_room(Asker.of(FLOOD))
        small.check_room(Asker.of(ELSEWHERE))
        honest = asyncio.create_task(small.hash(PASSWORD, by=Asker.of(ELSEWHERE, login="anna")))
        with pytest.raises(HashingBusyError):
            await flood.pop()
    assert all(await asyncio.gather(honest, *flood))


async def test_a_flood_of_addresses_on_one_account_keeps_no_other_account_out(small: PasswordHasher) -> None:
    flooders = [Origin(ip_address(f"198.51.100.{number}"), None, "") for number in range(3)]
    with _occupy(small):
        flood = await _fill(small, *[Asker.of(origin, login="victim") for origin in flooders])
        with pytest.raises(HashingBusyError):
            await small.hash(PASSWORD, by=Asker.of(ELSEWHERE, login="victim"))
        honest = asyncio.create_task(small.hash(PASSWORD, by=Asker.of(ELSEWHERE, login="anna")))
        with pytest.raises(HashingBusyError):
            await flood.pop()
    assert all(await asyncio.gather(honest, *flood))


async def test_the_owner_of_a_flooded_account_who_has_signed_in_here_is_let_in(small: PasswordHasher) -> None:
    owner = Asker.of(ELSEWHERE, login="victim")
    with await small.take_place(owner) as place:
        pass
    small.welcome(owner, place)
    flooders = [Origin(ip_address(f"198.51.100.{number}"), None, "") for number in range(3)]
    with _occupy(small):
        flood = await _fill(small, *[Asker.of(origin, login="victim") for origin in flooders])
        small.check_room(Asker.of(ELSEWHERE))
        honest = asyncio.create_task(small.hash(PASSWORD, by=owner))
        with pytest.raises(HashingBusyError):
            await flood.pop()
    assert all(await asyncio.gather(honest, *flood))


async def test_a_cancelled_request_does_not_begin_its_hash(small: PasswordHasher) -> None:
    begun: list[None] = []
    with _occupy(small):
        place = await small.take_place()
        running = asyncio.create_task(place.run(lambda: begun.append(None)))
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
    assert await small.hash(PASSWORD)
    assert begun == []


async def test_the_memory_of_those_who_signed_in_is_bounded() -> None:
    familiar = Familiar(most=1)
    first, second = (Asker.of(origin, login="anna") for origin in (FLOOD, ELSEWHERE))
    for asker in (first, second):
        familiar.add(asker)
    assert [familiar.has(asker) for asker in (first, second)] == [False, True]
    assert [familiar.has_address(asker) for asker in (first, second)] == [False, True]
