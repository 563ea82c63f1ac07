"""How many requests an upstream has in flight, in total and per client, and which request is next.

asyncio.Semaphore was looked at: it has neither a limit per client nor a queue that a client at its limit cannot block
(2026-11-27). Connection pools such as httpcore's and aiohttp's limit connections, not the requests of one client.
"""

import asyncio
import math
import time

from kpi_gateway.upstream.contract import UpstreamBusyError
from kpi_gateway.upstream.lines import Line, Waiter

# While the common line is too long, clients that ask for at least this share of what any in it asks for are refused,
# and the others take the place of a request of the one that asks most. Many equal clients differ by chance, but hardly
# by this much; and a request that is refused after it has waited costs several times as much as one that never waits.
_MUCH = 0.25
# Requests are counted in periods of this length: what a client asks for is its number in this one and the last.
_PERIOD_SECONDS = 1.0
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
        # Requests that found the line not empty.
        self._asked: dict[str, int] = {}
        self._asked_before: dict[str, int] = {}
        self._period_ends = 0.0
        self._most = 0
        self._most_until = 0.0
        self.taken = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        return len(self._line.waiters) + sum(len(line.waiters) for line in self._client_lines.values())

    @property
    def has_line(self) -> bool:
        return bool(self._line.waiters or self._client_lines)

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
        """Whether to refuse a request of the client at once: its line is too long, and it asks as much as others.

        Cheap, so that a request can be refused before anything else is done for it; it counts the refusal.
        """
        if self._claims.get(client, 0) >= self._per_client:
            line = self._client_lines.get(client)
            if line is None or line.accepts(time.monotonic()):
                return False
        elif not self._line.waiters or not self._is_refused_in_common(client):
            return False
        self.refused += 1
        return True

    def _is_refused_in_common(self, client: str) -> bool:
        now = time.monotonic()
        asks = self._count_request(client, now)
        return not self._line.accepts(now) and asks >= self._most_asked(now) * _MUCH

    async def wait(self, client: str, seconds: float = math.inf) -> None:
        """Raises UpstreamBusyError if no place becomes free in time, at once if that can be foreseen."""
        waiter = Waiter(client)
        if self._claims.get(client, 0) < self._per_client:
            if not self._line.accepts(waiter.since):
                self._make_room(max(1, self._asks(client)))
            # Once more than one that is refused: it takes from the others.
            self._count_request(client, waiter.since)
            self._enqueue(waiter)
        else:
            self._wait_at_limit(waiter)
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

    def _count_request(self, client: str, now: float) -> int:
        """How much the client asks for, with this request."""
        if now > self._period_ends:
            is_next = now <= self._period_ends + _PERIOD_SECONDS
            self._asked_before = self._asked if is_next else {}
            self._asked = {}
            self._period_ends = now + _PERIOD_SECONDS
        self._asked[client] = self._asked.get(client, 0) + 1
        return self._asks(client)

    def _asks(self, client: str) -> int:
        return self._asked.get(client, 0) + self._asked_before.get(client, 0)

    def _most_asked(self, now: float) -> int:
        """Of all clients in the line; determined at most once in a while."""
        if now > self._most_until:
            self._most = max((self._asks(each.client) for each in self._line.waiters), default=0)
            self._most_until = now + _REMEMBERED_SECONDS
        return self._most

    def _wait_at_limit(self, waiter: Waiter) -> None:
        line = self._client_lines.setdefault(waiter.client, Line(self._patience))
        if not line.accepts(waiter.since):
            self.refused += 1
            raise UpstreamBusyError
        line.append(waiter)

    def _make_room(self, asks: int) -> None:
        """Refuse the last request in the common line of the client that asks most.

        UpstreamBusyError if that does not ask for much more than ``asks``.
        """
        last = max(reversed(self._line.waiters), key=lambda each: self._asks(each.client))
        if asks >= self._asks(last.client) * _MUCH:
            self.refused += 1
            raise UpstreamBusyError
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
