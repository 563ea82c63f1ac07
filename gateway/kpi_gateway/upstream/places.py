"""How many requests an upstream has in flight, in total and per client, and which request is next.

asyncio.Semaphore was looked at: it has neither a limit per client nor a queue that a client at its limit cannot block
(2026-11-27). Connection pools such as httpcore's and aiohttp's limit connections, not the requests of one client.
"""

import asyncio
import math
import time

from kpi_gateway.upstream.contract import UpstreamBusyError
from kpi_gateway.upstream.lines import Line, Waiter

# While the common line is too long, clients with at least this share of the most claims that any has are refused, and
# the others take the place of a request of the one with the most.
_MUCH = 0.5
_REMEMBERED_SECONDS = 0.01


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
        self._most = 0
        self._most_until = 0.0
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

    def refuses(self, client: str) -> bool:
        """Whether to refuse a request of the client at once: its line is too long, and it asks more than others.

        Cheap, so that a request can be refused before anything else is done for it; it counts the refusal.
        """
        claims = self._claims.get(client, 0)
        if claims >= self._per_client:
            line = self._client_lines.get(client)
        elif self._line.waiters and claims >= self._most_claims() * _MUCH:
            line = self._line
        else:
            return False
        if line is None or line.accepts(time.monotonic()):
            return False
        self.refused += 1
        return True

    async def wait(self, client: str, seconds: float = math.inf) -> None:
        """Raises UpstreamBusyError if no place becomes free in time, at once if that can be foreseen."""
        if self.refuses(client):
            raise UpstreamBusyError
        waiter = Waiter(client)
        if self._claims.get(client, 0) < self._per_client:
            if not self._line.accepts(waiter.since):
                self._make_room()
            self._enqueue(waiter)
        else:
            self._client_lines.setdefault(client, Line(self._patience)).append(waiter)
        try:
            async with asyncio.timeout(min(self._patience, seconds)):
                await waiter.future
        except BaseException as error:
            self._abandon(waiter)
            if isinstance(error, TimeoutError):
                self.refused += 1
                raise UpstreamBusyError from None
            raise

    def give_back(self, client: str) -> None:
        """Give the place to the next request in the common line; ``client`` may then claim another."""
        waiter = self._line.next() if self._line.waiters else None
        if waiter is not None:
            waiter.future.set_result(None)
        else:
            self.taken -= 1
        self._release_claim(client)

    def _most_claims(self) -> int:
        """Of all clients; determined at most once in a while, since there may be many."""
        now = time.monotonic()
        if now > self._most_until:
            self._most = max(self._claims.values(), default=0)
            self._most_until = now + _REMEMBERED_SECONDS
        return self._most

    def _make_room(self) -> None:
        """Refuse the last request in the common line of the client that asks most."""
        last = max(reversed(self._line.waiters), key=lambda each: self._claims[each.client])
        self._line.remove(last)
        if not last.future.done():
            self.refused += 1
            last.future.set_exception(UpstreamBusyError())
            # Marks the exception as retrieved: the task that waited for it may be gone.
            last.future.exception()
            self._release_claim(last.client)

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
