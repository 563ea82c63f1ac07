"""Gathering: while auth is asked about some keys, those that come meanwhile are the next question, all together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from typing import NamedTuple

from kpi_shared.errors import ProblemError

from kpi_gateway.credentials.errors import ExchangeUnavailableError
from kpi_gateway.credentials.grants import Grant

Outcome = Grant | type[ProblemError]

# As many as auth takes at a time.
MAX_KEYS = 64
# A question that auth does not answer, say because a replica is frozen, holds the next one for this long.
PATIENCE_SECONDS = 0.02


class Asked(NamedTuple):
    """A key that auth is asked about. ``context`` has the id of the request that it came with."""

    digest: bytes
    key: str
    network: str
    outcome: asyncio.Future[Outcome]
    context: Context

    def settle(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Batches:
    """``ask`` settles each of the keys that it gets; those it leaves are unavailable."""

    def __init__(self, ask: Callable[[Sequence[Asked]], Awaitable[None]]) -> None:
        self._ask = ask
        self._waiting: deque[Asked] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, digest: bytes, key: str, network: str) -> asyncio.Future[Outcome]:
        loop = asyncio.get_running_loop()
        asked = Asked(digest, key, network, loop.create_future(), copy_context())
        self._waiting.append(asked)
        if not self._under_way:
            self._start()
        elif self._timer is None:
            self._timer = loop.call_later(PATIENCE_SECONDS, self._lose_patience)
        return asked.outcome

    def _lose_patience(self) -> None:
        self._timer = None
        if self._waiting:
            self._start()

    def _start(self) -> None:
        # A task of its own: the requests that wait for it may be cancelled. It takes its keys when it begins, and so
        # also those of requests that the loop handles before that.
        task = asyncio.create_task(self._run(), context=self._waiting[0].context)
        self._under_way.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if self._waiting and not self._under_way:
            self._start()

    async def _run(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(MAX_KEYS, len(self._waiting)))]
        if self._waiting:
            self._start()
        try:
            if batch:
                await self._ask(batch)
        finally:
            for asked in batch:
                asked.settle(ExchangeUnavailableError)
