"""Clients beside the steady load: each repeats one kind of request, as fast as it is served or at a fixed rate."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from kpi_drill.http import Client, Reply, Request

# No client repeats at once what was refused; this is little, and 40 clients still ask 800 times a second.
_PAUSE_SECONDS = 0.05
Make = Callable[[], Request]


class Loop(NamedTuple):
    """One client: what it asks for each time, and how long it rests after a response."""

    make: Make
    rest: float = 0.0


class Crowd:
    """Several loops, and what each request of theirs came to."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self.replies: list[Reply] = []

    @asynccontextmanager
    async def asking(self, loops: Sequence[Loop]) -> AsyncIterator[None]:
        """The clients ask during the block."""
        tasks = [asyncio.create_task(self._ask(loop)) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result

    async def _ask(self, loop: Loop) -> None:
        client = Client(self._ports)
        try:
            while True:
                reply = await client.send(loop.make())
                self.replies.append(reply)
                await asyncio.sleep(loop.rest if reply.ok else max(loop.rest, _PAUSE_SECONDS))
        finally:
            await client.close()

    async def ask_at(self, rate: float, seconds: float, make: Make) -> float:
        """Send so many requests a second, however many are open, and return how long that took."""
        client = Client(self._ports, timeout=5)
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                if (pause := began + number / rate - time.perf_counter()) > 0:
                    await asyncio.sleep(pause)
                elif number % 10 == 0:
                    await asyncio.sleep(0)
                group.create_task(self._ask_once(client, make()))
            took = time.perf_counter() - began
        await client.close()
        return took

    async def _ask_once(self, client: Client, request: Request) -> None:
        self.replies.append(await client.send(request))

    @property
    def good(self) -> list[Reply]:
        return [reply for reply in self.replies if reply.ok]

    @property
    def refused(self) -> list[Reply]:
        return [reply for reply in self.replies if not reply.ok]

    @property
    def statuses(self) -> str:
        """``12 x 401, 3 x 503``."""
        counts = sorted(Counter(reply.status for reply in self.replies).items())
        return ", ".join(f"{count} x {status}" for status, count in counts)

    def in_time(self, within: float) -> float:
        """The share of requests that succeeded within so many seconds."""
        return sum(reply.ok and reply.took <= within for reply in self.replies) / max(1, len(self.replies))
