"""How many requests an upstream has in flight, in total and per client, and which request is next.

asyncio.Semaphore was looked at: it has neither a limit per client nor a queue that a client at its limit cannot block
(2026-11-27). Connection pools such as httpcore's and aiohttp's limit connections, not the requests of one client.
"""

import asyncio
import math
from collections import Counter

from kpi_gateway.upstream.contract import UpstreamBusyError
from kpi_gateway.upstream.lines import Line, Waiter


class Places:
    """``total`` places, of which one client gets at most ``per_client``, so that it cannot block the others.

    A request that finds no place waits in the common line for ``patience`` seconds. A client at its limit, including
    its requests in that line, waits in a line of its own, so that it can never delay others. A line that is too long
    accepts no further request, and the common one prefers clients with few requests in it.
    """

    def __init__(self, total: int, *, per_client: int, patience: float) -> None:
        self.total = total
        self._per_client = per_client
        self._patience = patience
        self._line = Line(patience)
        self._client_lines: dict[str, Line] = {}
        self._claims: dict[str, int] = {}
        self.taken = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        return len(self._line.waiters) + sum(len(line.waiters) for line in self._client_lines.values())

    def has_free(self, client: str) -> bool:
        claims = self._claims.get(client, 0)
        return self.taken < self.total and not self._line.waiters and claims < self._per_client

    def take_free(self, client: str) -> bool:
        claims = self._claims.get(client, 0)
        if self.taken >= self.total or self._line.waiters or claims >= self._per_client:
            return False
        self._claims[client] = claims + 1
        self.taken += 1
        return True

    async def wait(self, client: str, seconds: float = math.inf) -> None:
        """Raises UpstreamBusyError if no place becomes free in time, at once if that can be foreseen."""
        waiter = Waiter(client)
        if self._claims.get(client, 0) < self._per_client:
            self._make_room(waiter)
            self._enqueue(waiter)
        else:
            line = self._client_lines.setdefault(client, Line(self._patience))
            if not line.accepts(waiter.since):
                raise self._refusal()
            line.append(waiter)
        try:
            async with asyncio.timeout(min(self._patience, seconds)):
                await waiter.future
        except BaseException as error:
            self._abandon(waiter)
            if isinstance(error, TimeoutError):
                raise self._refusal() from None
            raise

    def give_back(self, client: str) -> None:
        """Give the place to the next request in the common line; ``client`` may then claim another."""
        waiter = self._line.next()
        if waiter is not None:
            waiter.future.set_result(None)
        else:
            self.taken -= 1
        self._release_claim(client)

    def _refusal(self) -> UpstreamBusyError:
        self.refused += 1
        return UpstreamBusyError()

    def _make_room(self, waiter: Waiter) -> None:
        """Refuse the last request of the client with the most in the line, which may be this one, if it is too long."""
        if self._line.accepts(waiter.since):
            return
        counts = Counter([each.client for each in self._line.waiters])
        client, most = counts.most_common(1)[0]
        if counts[waiter.client] + 1 >= most:
            raise self._refusal()
        last = next(each for each in reversed(self._line.waiters) if each.client == client)
        self._line.remove(last)
        if not last.future.done():
            last.future.set_exception(self._refusal())
            # Marks the exception as retrieved: the task that waited for it may be gone.
            last.future.exception()
            self._release_claim(client)

    def _enqueue(self, waiter: Waiter) -> None:
        self._claims[waiter.client] = self._claims.get(waiter.client, 0) + 1
        waiter.has_claim = True
        if self.taken < self.total and not self._line.waiters:
            self.taken += 1
            waiter.future.set_result(None)
        else:
            self._line.append(waiter)

    def _release_claim(self, client: str) -> None:
        left = self._claims[client] - 1
        self._claims[client] = left
        line = self._client_lines.get(client)
        waiter = line.next() if line is not None else None
        if waiter is not None:
            self._enqueue(waiter)
        elif not left:
            del self._claims[client]
            self._client_lines.pop(client, None)

    def _abandon(self, waiter: Waiter) -> None:
        future = waiter.future
        if future.done() and not future.cancelled():
            if future.exception() is None:
                # It got its place at the moment when it stopped waiting.
                self.give_back(waiter.client)
            return
        line = self._line if waiter.has_claim else self._client_lines.get(waiter.client)
        if line is not None:
            line.remove(waiter)
        if waiter.has_claim:
            self._release_claim(waiter.client)
