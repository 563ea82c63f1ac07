"""Each driver of the cache, for the contract, and Redis as a server that tests stop."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kpi_kit.cache import Cache, CacheFake
from redis_support import RedisServer

# Longer than any time to live that a test gives, and than a clock's step.
SHORT = 0.05
PASSWORD = "p@ss:w/rd"


@dataclass
class Case:
    """One driver. ``url`` may have other options in its query; there is none for the fake."""

    name: str
    url: str

    @property
    def is_shared(self) -> bool:
        return self.name in ("disk", "redis")

    def build(self, **options: str) -> Cache:
        if self.name == "fake":
            return CacheFake()
        if self.name == "disk":
            # A busy machine may need a while for a new file.
            options = {"timeout": "20", **options}
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return Cache.from_url(f"{self.url}?{query}")


async def pass_time(cache: Cache, seconds: float) -> None:
    """Let at least so much time pass for the cache."""
    if isinstance(cache, CacheFake):
        cache.advance(seconds)
    await asyncio.sleep(0 if isinstance(cache, CacheFake) else seconds)


@contextmanager
def suspended(server: RedisServer) -> Iterator[None]:
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    os.waitpid(server.process.pid, os.WUNTRACED)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


class Maker:
    """What ``remember`` calls: counts its calls, and waits until it may return."""

    def __init__(self, *values: object) -> None:
        self.calls = 0
        self.may_return = asyncio.Event()
        self.has_begun = asyncio.Event()
        self._values = values

    async def __call__(self) -> object:
        value = self._values[min(self.calls, len(self._values) - 1)]
        self.calls += 1
        self.has_begun.set()
        await self.may_return.wait()
        if isinstance(value, Exception):
            raise value
        return value


def make_at_once(*values: object) -> Maker:
    maker = Maker(*values)
    maker.may_return.set()
    return maker


async def until_waiting(cache: Cache, count: int) -> None:
    """Until so many callers of this cache wait for a value that is being made."""
    flights = cache._rememberer._flights._flights
    await until(lambda: sum(flight.waiting for flight in flights.values()) == count)


async def until_async(read: Callable[[], Awaitable[object]], wanted: object) -> None:
    async with asyncio.timeout(20):
        while await read() != wanted:  # noqa: ASYNC110 another process may change it
            await asyncio.sleep(0.005)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 the condition is of any kind
            await asyncio.sleep(0.005)
