"""The places of an upstream: which request gets one, in which order, and that none is ever lost."""

import asyncio
import random
from collections.abc import Callable

import pytest
from kpi_gateway.upstream.contract import UpstreamBusyError
from kpi_gateway.upstream.places import Places


async def _run_pending_tasks() -> None:
    """Let all tasks run that can."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_places_are_given_in_the_order_of_the_queue() -> None:
    places = Places(1, per_client=10, patience=10)
    assert places.take_free("a")
    order = []

    async def wait(number: int) -> None:
        await places.wait("a")
        order.append(number)
        places.give_back("a")

    waiting = [asyncio.create_task(wait(number)) for number in range(5)]
    await _run_pending_tasks()
    places.give_back("a")
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3, 4]
    assert (places.taken, places.waiting) == (0, 0)


async def test_a_client_at_its_limit_is_overtaken_by_others() -> None:
    places = Places(3, per_client=2, patience=10)
    assert [places.take_free("a") for _ in range(3)] == [True, True, False]
    third = asyncio.create_task(places.wait("a"))
    await _run_pending_tasks()
    assert places.take_free("b")
    assert not places.take_free("c")
    queued = asyncio.create_task(places.wait("c"))
    await _run_pending_tasks()
    # A place that is given back goes to the common queue first, and only then to the client's own.
    places.give_back("a")
    await _run_pending_tasks()
    assert (queued.done(), third.done()) == (True, False)
    places.give_back("b")
    await third
    assert places.taken == 3
    for client in ("a", "a", "c"):
        places.give_back(client)
    assert (places.taken, places.waiting) == (0, 0)


async def test_waiting_for_a_place_is_limited_in_time() -> None:
    places = Places(1, per_client=1, patience=0.01)
    assert places.take_free("a")
    for client in ("a", "b"):
        with pytest.raises(UpstreamBusyError):
            await places.wait(client)
    assert (places.taken, places.waiting, places.refused) == (1, 0, 2)
    places.give_back("a")
    assert places.take_free("b")


@pytest.mark.parametrize("client", ["a", "b"])
@pytest.mark.parametrize("first", ["leaves", "place comes free"])
async def test_a_cancelled_request_keeps_no_place_that_becomes_free_at_that_moment(first: str, client: str) -> None:
    places = Places(1, per_client=1, patience=10)
    assert places.take_free("a")
    leaving = asyncio.create_task(places.wait(client))
    staying = asyncio.create_task(places.wait("c"))
    await _run_pending_tasks()
    steps: list[Callable[[], object]] = [leaving.cancel, lambda: places.give_back("a")]
    for step in steps if first == "leaves" else reversed(steps):
        step()
    async with asyncio.timeout(5):
        await staying
    assert leaving.cancelled()
    assert (places.taken, places.waiting) == (1, 0)
    places.give_back("c")
    assert places.taken == 0


async def test_no_place_is_ever_lost() -> None:
    """Clients that wait, time out, are cancelled and return, in random order."""
    choice = random.Random(11)
    places = Places(4, per_client=2, patience=0.005)
    most = 0

    async def client(name: str) -> None:
        nonlocal most
        if not places.take_free(name):
            await places.wait(name)
        most = max(most, places.taken)
        try:
            await asyncio.sleep(choice.random() / 500)
        finally:
            places.give_back(name)

    for _ in range(60):
        tasks = [asyncio.create_task(client(choice.choice("abc"))) for _ in range(12)]
        await asyncio.sleep(choice.random() / 200)
        for task in choice.sample(tasks, 4):
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(error is None or isinstance(error, (UpstreamBusyError, asyncio.CancelledError)) for error in ended)
        assert (places.taken, places.waiting) == (0, 0)
    assert 2 <= most <= 4
    # Nothing is kept of clients without requests.
    assert (places._claims, places._client_lines) == ({}, {})


async def _wait_for_refusal(places: Places, client: str) -> None:
    async with asyncio.timeout(10):
        while not places.refuses(client):  # noqa: ASYNC110 time alone changes it
            await asyncio.sleep(0.01)


async def test_a_line_that_does_not_move_accepts_nobody_and_a_moving_one_does() -> None:
    places = Places(1, per_client=100, patience=1)
    assert places.take_free("a")
    assert not places.refuses("a")
    waiting = [asyncio.create_task(places.wait("a")) for _ in range(5)]
    await _run_pending_tasks()
    # A burst may wait.
    assert not places.refuses("a")
    await _wait_for_refusal(places, "a")
    with pytest.raises(UpstreamBusyError):
        await places.wait("a")
    for each in waiting:
        places.give_back("a")
        await each
    assert not places.refuses("a")
    places.give_back("a")
    assert (places.taken, places.waiting, places._claims, places._client_lines) == (0, 0, {}, {})


async def test_the_client_that_asks_most_is_refused_first() -> None:
    places = Places(2, per_client=100, patience=1)
    assert places.take_free("many")
    assert places.take_free("few")
    waiting = [asyncio.create_task(places.wait("many")) for _ in range(5)]
    await _run_pending_tasks()
    await _wait_for_refusal(places, "many")
    assert not places.refuses("few")
    accepted = asyncio.create_task(places.wait("few"))
    await _run_pending_tasks()
    assert [each.done() for each in waiting] == [False] * 4 + [True]
    with pytest.raises(UpstreamBusyError):
        await waiting.pop()
    for each in (*waiting, accepted):
        places.give_back("many" if each is not accepted else "few")
        await each
    for client in ("many", "few"):
        places.give_back(client)
    assert (places.taken, places.waiting, places._claims) == (0, 0, {})


async def test_a_client_at_its_limit_is_refused_by_its_own_line_only() -> None:
    places = Places(4, per_client=1, patience=1)
    assert places.take_free("a")
    waiting = asyncio.create_task(places.wait("a"))
    await _run_pending_tasks()
    await _wait_for_refusal(places, "a")
    assert not places.refuses("b")
    assert places.take_free("b")
    waiting.cancel()
    await _run_pending_tasks()
    for client in ("a", "b"):
        places.give_back(client)
    assert (places.taken, places.waiting, places._claims, places._client_lines) == (0, 0, {}, {})
