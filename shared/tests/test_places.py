"""The fair queue for costly work."""

import asyncio
from collections.abc import Hashable

import pytest
from kpi_shared import places as module
from kpi_shared.errors import UnavailableError
from kpi_shared.places import Places, Turn, Usage, register_metrics
from kpi_shared.telemetry.metrics import Metrics
from kpi_shared.testing.metrics import Scrape
from prometheus_client import generate_latest


def make(total: int = 1, *, waiting: int = 3, patience: float = 30.0, usual: float = 0.01) -> Places:
    return Places(total, waiting=waiting, patience=patience, usual=usual, refusal=UnavailableError)


class Queue:
    """Requests that wait for a place, by name, and the names in the order in which they got one."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.served: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, *sources: Hashable, is_favoured: bool = False) -> None:
        async def serve() -> None:
            with await self.places.take(*sources, is_favoured=is_favoured):
                self.served.append(name)

        self.tasks[name] = asyncio.create_task(serve())
        # The task runs up to the point where it waits, or is refused, in this turn of the loop.
        await asyncio.sleep(0)

    async def finish(self) -> set[str]:
        """The names of the refused."""
        found = await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        assert {type(each) for each in found} <= {type(None), UnavailableError}
        return {name for name, each in zip(self.tasks, found, strict=True) if each is not None}


def assert_idle(places: Places) -> None:
    assert (places.taken, places.waiting, places._claims) == (0, 0, {})


async def test_requests_of_one_source_are_served_in_their_order() -> None:
    queue = Queue(make())
    with await queue.places.take("a"):
        for name in ("first", "second", "third"):
            await queue.ask(name, "a")
        await queue.ask("fourth", "a")
        assert queue.served == []
    assert await queue.finish() == {"fourth"}
    assert queue.served == ["first", "second", "third"]
    assert queue.places.refused == 1
    assert_idle(queue.places)


async def test_a_quiet_source_precedes_one_that_asks_for_much() -> None:
    queue = Queue(make(waiting=10))
    with await queue.places.take("busy"):
        for number in range(5):
            await queue.ask(f"busy {number}", "busy")
        await queue.ask("quiet", "quiet")
    assert await queue.finish() == set()
    assert queue.served[0] == "quiet"


async def test_a_full_queue_refuses_the_last_of_the_source_that_asks_for_most() -> None:
    queue = Queue(make(waiting=4))
    with await queue.places.take("busy"):
        for number in range(4):
            await queue.ask(f"busy {number}", "busy")
        for name in ("anna", "ben"):
            await queue.ask(name, name)
    assert await queue.finish() == {"busy 2", "busy 3"}
    assert queue.served == ["anna", "ben", "busy 0", "busy 1"]
    assert_idle(queue.places)


async def test_all_sources_of_a_request_count() -> None:
    """Many addresses that guess one account are one source, too."""
    queue = Queue(make(waiting=4))
    with await queue.places.take("address 0", "account"):
        for number in range(1, 5):
            await queue.ask(f"guess {number}", f"address {number}", "account")
        await queue.ask("other", "address 9", "other account")
    assert await queue.finish() == {"guess 4"}
    assert queue.served[0] == "other"


async def test_what_was_used_lately_counts_and_fades(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    queue = Queue(make(waiting=10))

    async def use(source: str, seconds: float) -> None:
        nonlocal now
        with await queue.places.take(source):
            now += seconds

    await use("busy", 5.0)
    with await queue.places.take("other"):
        await queue.ask("busy", "busy")
        await queue.ask("quiet", "quiet")
    await queue.finish()
    assert queue.served == ["quiet", "busy"]
    now += 3600.0
    with await queue.places.take("other"):
        await queue.ask("busy again", "busy")
        await queue.ask("quiet again", "quiet")
    await queue.finish()
    assert queue.served[2:] == ["busy again", "quiet again"]


async def test_a_forgiven_turn_is_not_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    queue = Queue(make(waiting=10))
    turn = await queue.places.take("welcome")
    now += 5.0
    turn.give_back()
    for _ in range(2):
        turn.forgive()
    with await queue.places.take("other"):
        await queue.ask("welcome", "welcome")
        await queue.ask("new", "new")
    await queue.finish()
    assert queue.served == ["welcome", "new"]


async def test_a_favoured_request_precedes_and_displaces_others() -> None:
    queue = Queue(make(waiting=2))
    with await queue.places.take("x"):
        for name in ("anna", "ben"):
            await queue.ask(name, name)
        await queue.ask("known", "known", is_favoured=True)
    assert await queue.finish() == {"ben"}
    assert queue.served == ["known", "anna"]


async def test_a_request_that_would_wait_in_vain_is_refused_at_once() -> None:
    """Turns of 0.4 s: within a second, two of them end."""
    queue = Queue(make(waiting=100, patience=1.0, usual=0.4))
    with await queue.places.take("x"):
        for number in range(5):
            await queue.ask(str(number), number)
        with pytest.raises(UnavailableError):
            queue.places.check_room("new")
    assert await queue.finish() == {"2", "3", "4"}


async def test_an_early_check_lets_a_quiet_source_through() -> None:
    queue = Queue(make(waiting=2))
    queue.places.check_room("busy")
    with await queue.places.take("busy"):
        queue.places.check_room("busy")
        for number in range(2):
            await queue.ask(str(number), "busy")
        with pytest.raises(UnavailableError):
            queue.places.check_room("busy")
        queue.places.check_room("quiet")
    assert await queue.finish() == set()


async def test_patience_ends() -> None:
    places = make(patience=0.05)
    with await places.take("a"), pytest.raises(UnavailableError):
        await places.take("b")
    assert places.refused == 1
    assert_idle(places)


async def test_a_cancelled_request_leaves_the_queue() -> None:
    queue = Queue(make(waiting=2))
    with await queue.places.take("a"):
        for name in ("gone", "next"):
            await queue.ask(name, name)
        queue.tasks.pop("gone").cancel()
        await asyncio.sleep(0)
        assert queue.places.waiting == 1
    assert await queue.finish() == set()
    assert queue.served == ["next"]
    assert_idle(queue.places)


async def test_a_request_that_is_cancelled_as_its_turn_comes_passes_the_place_on() -> None:
    queue = Queue(make(waiting=2))
    turn = await queue.places.take("a")
    for name in ("gone", "next"):
        await queue.ask(name, name)
    turn.give_back()
    queue.tasks.pop("gone").cancel()
    assert await queue.finish() == set()
    assert queue.served == ["next"]
    assert_idle(queue.places)


async def test_a_request_that_is_being_cancelled_gets_no_turn() -> None:
    queue = Queue(make(waiting=2))
    turn = await queue.places.take("a")
    for name in ("gone", "next"):
        await queue.ask(name, name)
    queue.tasks.pop("gone").cancel()
    turn.give_back()
    assert await queue.finish() == set()
    assert queue.served == ["next"]
    assert_idle(queue.places)


async def test_a_request_that_is_being_cancelled_makes_room() -> None:
    queue = Queue(make(waiting=1))
    with await queue.places.take("busy"):
        await queue.ask("busy", "busy")
        queue.tasks.pop("busy").cancel()
        await queue.ask("quiet", "quiet")
    assert await queue.finish() == set()
    assert queue.served == ["quiet"]
    assert_idle(queue.places)


async def test_a_request_that_is_cancelled_as_it_is_displaced_leaves_nothing() -> None:
    queue = Queue(make(waiting=1))
    with await queue.places.take("busy"):
        await queue.ask("busy", "busy")
        await queue.ask("quiet", "quiet")
        queue.tasks.pop("busy").cancel()
    assert await queue.finish() == set()
    assert queue.served == ["quiet"]
    assert_idle(queue.places)


async def test_a_place_rests_after_a_turn_while_requests_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rests = 1000.0, []
    monkeypatch.setattr(module, "monotonic", lambda: now)
    places = Places(1, waiting=3, patience=30, usual=0.01, refusal=UnavailableError, rest=0.5)
    queue = Queue(places)
    turn = await places.take("a")
    await queue.ask("next", "a")
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda *rest: rests.append(rest))
    now += 4
    turn.give_back()
    ((seconds, give_to_next),) = rests
    assert (seconds, queue.served, places.taken) == (2.0, [], 1)
    give_to_next()
    assert await queue.finish() == set()
    assert queue.served == ["next"]
    # The last turn is followed by no rest: no request waits.
    assert len(rests) == 1
    assert_idle(places)


async def test_a_turn_is_given_back_once() -> None:
    places = make(total=2)
    turn: Turn = await places.take("a")
    other = await places.take("b")
    for _ in range(2):
        turn.give_back()
    assert places.taken == 1
    other.give_back()
    assert_idle(places)


async def test_random_arrivals_and_cancellations_leave_no_place_taken() -> None:
    places = make(total=3, waiting=5, patience=0.02)

    async def ask(number: int) -> None:
        with await places.take(number % 4, f"account {number % 7}"):
            assert places.taken <= places.total
            await asyncio.sleep(0.001 * (number % 3))

    tasks = []
    for number in range(400):
        tasks.append(asyncio.create_task(ask(number)))
        if number % 3 == 0:
            await asyncio.sleep(0)
        if number % 5 == 0:
            tasks[number // 2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert_idle(places)


def test_the_memory_of_sources_is_bounded() -> None:
    usage = Usage(most=2)
    for source in ("a", "b", "a", "c"):
        usage.add(source, 1.0, 0.0)
    assert [usage.of(source, 0.0) for source in ("a", "b", "c")] == [2.0, 0.0, 1.0]


async def test_metrics() -> None:
    places = make(waiting=1)
    metrics = Metrics("content")
    register_metrics(metrics, "search", places)
    queue = Queue(places)
    with await places.take("a"):
        await queue.ask("b", "b")
        await queue.ask("c", "c")
        found = Scrape(generate_latest(metrics.registry).decode())
    assert await queue.finish() == {"c"}
    states = {state: found.value("kpi_places", kind="search", state=state) for state in ("total", "taken", "waiting")}
    assert states == {"total": 1, "taken": 1, "waiting": 1}
    assert found.value("kpi_places_refused_total", kind="search") == 1
