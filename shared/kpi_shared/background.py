"""The loop that a service's background work runs in: one step after another, until it is cancelled.

Every replica runs the same loops. Their delays have jitter, so that replicas do not work at the same moments, and a
step that fails is repeated with exponential back-off: the rows that it works on are still there later.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from random import SystemRandom
from typing import Any, NamedTuple, Self, TypeVar

import structlog

log = structlog.get_logger(__name__)

# A step does one portion of work and returns whether there is more of it.
Step = Callable[[], Awaitable[bool]]
Result = TypeVar("Result")

_random = SystemRandom()
# Larger exponents reach every cap, and would overflow a float in the end.
_MAX_EXPONENT = 20


class Schedule(NamedTuple):
    """Times in seconds, before jitter: a first delay of half to one and a half, an interval of 90 to 110 percent."""

    interval: float
    first_delay: float = 0.0
    first_backoff: float = 1.0
    longest_backoff: float = 30.0


async def repeat(step: Step, schedule: Schedule, *, failure: str, wake: asyncio.Event | None = None) -> None:
    """Run the step until cancelled: at once while there is more work, else after the interval or when ``wake`` is set.

    An exception of the step is logged as ``failure``, and the next attempt waits for the back-off, which ``wake``
    does not shorten.
    """
    await asyncio.sleep(schedule.first_delay * _random.uniform(0.5, 1.5))
    failures = 0
    while True:
        if wake is not None:
            # Before the step: what is set during it may be about work that the step did not see.
            wake.clear()
        try:
            has_more = await step()
        except Exception as error:  # noqa: BLE001 whatever fails now may succeed later
            failures += 1
            log.warning(failure, error=type(error).__name__)
            await asyncio.sleep(backoff(failures, first=schedule.first_backoff, longest=schedule.longest_backoff))
            continue
        failures = 0
        await _pause(0 if has_more else schedule.interval * _random.uniform(0.9, 1.1), wake)


async def _pause(seconds: float, wake: asyncio.Event | None) -> None:
    if wake is None or not seconds:
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return


def backoff(failures: int, *, first: float, longest: float) -> float:
    """The delay after that many failures in a row: doubled each time up to ``longest``, less up to a quarter."""
    delay = min(first * 2.0 ** min(failures - 1, _MAX_EXPONENT), longest)
    return delay * _random.uniform(0.75, 1)


class Lease(NamedTuple):
    """The time for which a step may treat rows that it took as its own. Begin it before the database does."""

    end: float

    @classmethod
    def begin(cls, seconds: float) -> Self:
        return cls(asyncio.get_running_loop().time() + seconds)

    @property
    def is_over(self) -> bool:
        return asyncio.get_running_loop().time() >= self.end


class InFlight:
    """Work that was started and is not waited for; ``free`` more pieces may be started, up to ``limit``."""

    def __init__(self, limit: int = sys.maxsize) -> None:
        self._limit = limit
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def free(self) -> int:
        return self._limit - len(self._tasks)

    def start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def wait_for_one(self) -> None:
        """Return when a piece has ended, or at once where none is in flight."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), return_when=asyncio.FIRST_COMPLETED)

    async def finish(self, *, grace: float) -> None:
        """Wait for all pieces; cancel those that have not ended within ``grace`` seconds, and wait for these too."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace)
        late = set(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


@asynccontextmanager
async def running(loop: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Run a loop as a task of that name while the block runs; at its end the loop is cancelled and has ended.

    Cancellation rolls back the transaction of the step under way. Call ``InFlight.finish`` after the block.
    """
    task = asyncio.create_task(loop, name=name)
    task.add_done_callback(_report_failure)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background loop failed", loop=task.get_name(), exc_info=error)
