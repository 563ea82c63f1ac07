"""How many requests an upstream has in flight, in total and per client, and which request is next.

asyncio.Semaphore was looked at: it has neither a limit per client nor a queue that a client at its limit cannot block
(2026-11-27). Connection pools such as httpcore's and aiohttp's limit connections, not the requests of one client.
"""

import asyncio
from collections import deque
from contextlib import suppress

from kpi_gateway.upstream.contract import UpstreamBusyError


class _Waiter:
    """A request that waits; ``has_claim`` once it is in the common queue and so counts towards its client's limit."""

    __slots__ = ("client", "future", "has_claim")

    def __init__(self, client: str) -> None:
        self.client = client
        self.has_claim = False
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Places:
    """``total`` places, of which one client gets at most ``per_client``, so that it cannot block the others.

    A request that finds no place waits in the common queue for ``patience`` seconds. A client at its limit, including
    its requests in that queue, waits in a queue of its own, so that it can never delay others.
    """

    def __init__(self, total: int, *, per_client: int, patience: float) -> None:
        self.total = total
        self._per_client = per_client
        self._patience = patience
        self._queue: deque[_Waiter] = deque()
        self._client_queues: dict[str, deque[_Waiter]] = {}
        self._claims: dict[str, int] = {}
        self.taken = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        return len(self._queue) + sum(map(len, self._client_queues.values()))

    def take_free(self, client: str) -> bool:
        claims = self._claims.get(client, 0)
        if self.taken >= self.total or self._queue or claims >= self._per_client:
            return False
        self._claims[client] = claims + 1
        self.taken += 1
        return True

    async def wait(self, client: str) -> None:
        """Raises UpstreamBusyError if no place becomes free in time."""
        waiter = _Waiter(client)
        if self._claims.get(client, 0) < self._per_client:
            self._enqueue(waiter)
        else:
            self._client_queues.setdefault(client, deque()).append(waiter)
        try:
            async with asyncio.timeout(self._patience):
                await waiter.future
        except BaseException as error:
            self._abandon(waiter)
            if isinstance(error, TimeoutError):
                self.refused += 1
                raise UpstreamBusyError from None
            raise

    def give_back(self, client: str) -> None:
        """Give the place to the next request in the common queue; ``client`` may then claim another."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.future.done():
                waiter.future.set_result(None)
                break
        else:
            self.taken -= 1
        self._release_claim(client)

    def _enqueue(self, waiter: _Waiter) -> None:
        self._claims[waiter.client] = self._claims.get(waiter.client, 0) + 1
        waiter.has_claim = True
        if self.taken < self.total and not self._queue:
            self.taken += 1
            waiter.future.set_result(None)
        else:
            self._queue.append(waiter)

    def _release_claim(self, client: str) -> None:
        left = self._claims[client] - 1
        if left:
            self._claims[client] = left
        else:
            del self._claims[client]
        own_queue = self._client_queues.get(client)
        while own_queue:
            waiter = own_queue.popleft()
            if not waiter.future.done():
                self._enqueue(waiter)
                break
        if not own_queue:
            self._client_queues.pop(client, None)

    def _abandon(self, waiter: _Waiter) -> None:
        if waiter.future.done() and not waiter.future.cancelled():
            # It got its place at the moment when it stopped waiting.
            self.give_back(waiter.client)
            return
        # give_back may have removed it from its queue already.
        with suppress(ValueError):
            (self._queue if waiter.has_claim else self._client_queues.get(waiter.client, deque())).remove(waiter)
        if waiter.has_claim:
            self._release_claim(waiter.client)
        elif not self._client_queues.get(waiter.client, True):
            del self._client_queues[waiter.client]
