"""The loop of background work: delays, failures and the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from kpi_shared import background
from kpi_shared.background import InFlight, Lease, Schedule, Step, backoff, repeat, running
from structlog.testing import capture_logs

# Longer than any test waits: a step that comes all the same was not waiting for it.
NEVER = 3600.0


class Steps:
    """A step that returns or raises what it is given, in turn, and then waits for its cancellation."""

    def __init__(self, *results: bool | Exception) -> None:
        self._results = list(results)
        self.count = 0
        self.was_cancelled = False
        self.exhausted = asyncio.Event()

    async def __call__(self) -> bool:
        self.count += 1
        if not self._results:
            self.exhausted.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise
        result = self._results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


@asynccontextmanager
async def repeating(step: Step, schedule: Schedule, wake: asyncio.Event | None = None) -> AsyncIterator[None]:
    async with running(repeat(step, schedule, failure="step failed", wake=wake), name="test"):
        yield


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 there is no event for each condition
            await asyncio.sleep(0.001)


@pytest.fixture
def jitter(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """The bounds of each jitter; the factor itself is the lower one."""
    bounds: list[tuple[float, float]] = []

    class Random:
        def uniform(self, low: float, high: float) -> float:
            bounds.append((low, high))
            return low

    monkeypatch.setattr(background, "_random", Random())
    return bounds


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays of the loop, none of which is waited for."""
    delays: list[float] = []
    sleep = asyncio.sleep

    async def record(seconds: float) -> None:
        delays.append(seconds)
        await sleep(0)

    monkeypatch.setattr(background.asyncio, "sleep", record)
    return delays


async def test_the_next_step_comes_at_once_while_there_is_more_work() -> None:
    steps = Steps(True, True, True, False)
    async with repeating(steps, Schedule(interval=NEVER)):
        await until(lambda: steps.count == 4)
        await asyncio.sleep(0.05)
    assert steps.count == 4


async def test_the_first_delay_and_the_interval_have_jitter(
    jitter: list[tuple[float, float]], slept: list[float]
) -> None:
    steps = Steps(False, True, False)
    async with repeating(steps, Schedule(interval=100, first_delay=60)):
        await steps.exhausted.wait()
    assert slept == [30, 90, 0, 90]
    assert jitter == [(0.5, 1.5), (0.9, 1.1), (0.9, 1.1)]


async def test_a_loop_without_a_first_delay_starts_at_once() -> None:
    steps = Steps()
    async with repeating(steps, Schedule(interval=NEVER)):
        async with asyncio.timeout(5):
            await steps.exhausted.wait()


async def test_failures_in_a_row_wait_longer_each_time_up_to_the_cap(
    jitter: list[tuple[float, float]], slept: list[float]
) -> None:
    steps = Steps(*[OSError("secret")] * 4, False, OSError("secret"))
    with capture_logs() as logs:
        async with repeating(steps, Schedule(interval=100, first_backoff=2, longest_backoff=10)):
            await steps.exhausted.wait()
    # A success begins the row anew.
    assert slept[1:] == [1.5, 3, 6, 7.5, 90, 1.5]
    assert jitter[1] == (0.75, 1)
    # One line for each failure, by its type: the text of an exception may hold an address or a value.
    assert logs == [{"event": "step failed", "error": "OSError", "log_level": "warning"}] * 5


def test_a_backoff_never_exceeds_its_cap() -> None:
    for failures in (1, 2, 30, 5000):
        delays = [backoff(failures, first=10, longest=3600) for _ in range(50)]
        undisturbed = min(10 * 2.0 ** min(failures - 1, 100), 3600)
        assert all(0.75 * undisturbed <= delay <= undisturbed for delay in delays)
        assert len(set(delays)) > 1


async def test_a_wake_comes_before_the_interval() -> None:
    wake = asyncio.Event()
    steps = Steps(False, False)
    async with repeating(steps, Schedule(interval=NEVER), wake):
        await until(lambda: steps.count == 1)
        wake.set()
        await until(lambda: steps.count == 2)
        await asyncio.sleep(0.05)
    # One wake is one step.
    assert steps.count == 2


async def test_a_wake_during_a_step_is_not_lost() -> None:
    wake = asyncio.Event()
    count = 0

    async def step() -> bool:
        nonlocal count
        count += 1
        if count == 1:
            wake.set()
            await asyncio.sleep(0)
        return False

    async with repeating(step, Schedule(interval=NEVER), wake):
        await until(lambda: count == 2)


async def test_without_a_wake_the_interval_is_the_guarantee() -> None:
    steps = Steps(False, False, False)
    async with repeating(steps, Schedule(interval=0.001), asyncio.Event()):
        await steps.exhausted.wait()


async def test_a_wake_does_not_shorten_the_backoff() -> None:
    wake = asyncio.Event()
    steps = Steps(OSError())
    async with repeating(steps, Schedule(interval=NEVER, first_backoff=NEVER, longest_backoff=NEVER), wake):
        await until(lambda: steps.count == 1)
        wake.set()
        await asyncio.sleep(0.05)
    assert steps.count == 1


async def test_a_step_without_any_wait_does_not_hold_up_the_event_loop() -> None:
    async def step() -> bool:
        return True

    async with asyncio.timeout(5):
        async with repeating(step, Schedule(interval=NEVER)):
            await asyncio.sleep(0.01)


async def test_the_end_cancels_the_step_and_waits_for_it() -> None:
    steps = Steps()
    async with repeating(steps, Schedule(interval=NEVER)):
        await steps.exhausted.wait()
        assert "test" in {task.get_name() for task in asyncio.all_tasks()}
    assert steps.was_cancelled
    assert "test" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_a_lease_ends_after_its_time() -> None:
    lease, longer = Lease.begin(0.02), Lease.begin(NEVER)
    assert not lease.is_over
    await until(lambda: lease.is_over)
    assert asyncio.get_running_loop().time() >= lease.end
    assert not longer.is_over


async def test_a_loop_that_fails_is_reported() -> None:
    async def fail() -> None:
        raise OSError

    with capture_logs() as logs:
        async with running(fail(), name="a loop"):
            await asyncio.sleep(0)
        async with running(_wait(asyncio.Event()), name="another"):
            await asyncio.sleep(0)
    assert [(each["event"], each["loop"]) for each in logs] == [("background loop failed", "a loop")]


async def test_work_in_flight_has_a_limit_and_makes_room_as_it_ends() -> None:
    in_flight = InFlight(2)
    first, second = asyncio.Event(), asyncio.Event()
    await in_flight.wait_for_one()
    for event in (first, second):
        in_flight.start(_wait(event))
    assert (in_flight.free, len(in_flight)) == (0, 2)
    second.set()
    await in_flight.wait_for_one()
    assert (in_flight.free, len(in_flight)) == (1, 1)
    first.set()
    await in_flight.finish(grace=5)
    assert in_flight.free == 2


async def test_work_in_flight_may_finish_within_the_grace_and_is_cancelled_after_it() -> None:
    in_flight = InFlight(2)
    ends: list[str] = []

    async def work(name: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            ends.append(f"{name} done")
        except asyncio.CancelledError:
            # Even what it does on its way out is waited for.
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.Event().wait()
            ends.append(f"{name} cancelled")
            raise

    in_flight.start(work("quick", 0.01))
    in_flight.start(work("slow", NEVER))
    await in_flight.finish(grace=0.1)
    assert ends == ["quick done", "slow cancelled"]
    assert len(in_flight) == 0


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
