"""A line of requests that wait for their turn, and whether it is too long for another one.

After CoDel (RFC 8289) and the queues described in "Fail at Scale" (Facebook, 2015): a line that is served within its
time absorbs a burst, one that does not become empty only delays every request in it.
"""

import asyncio
import math
import time
from collections import deque
from contextlib import suppress

# As shares of the patience: a line that has not been empty for the first is standing, and a standing line accepts
# nothing while its first request has waited for the second. With the default of 1 s that is 100 ms and 40 ms.
_STANDING = 0.1
_TARGET = 0.04
# So many requests must have been served in a row before their pace is known.
_KNOWN = 8


class Waiter:
    """A request that waits; ``has_claim`` once it is in the common line and so counts towards its client's limit."""

    __slots__ = ("client", "future", "has_claim", "since")

    def __init__(self, client: str) -> None:
        self.client = client
        self.since = time.monotonic()
        self.has_claim = False
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Line:
    """First come, first served. ``patience`` is the longest time in seconds that a request may wait."""

    __slots__ = ("_patience", "_refused_at", "_seconds_each", "_served", "_standing_since", "waiters")

    def __init__(self, patience: float) -> None:
        self.waiters: deque[Waiter] = deque()
        self._patience = patience
        self._standing_since = 0.0
        self._served = 0
        self._seconds_each = 0.0
        self._refused_at = -math.inf

    def append(self, waiter: Waiter) -> None:
        if not self.waiters:
            self._standing_since = waiter.since
            self._served = 0
        self.waiters.append(waiter)

    def next(self) -> Waiter | None:
        """Remove the first request that still waits."""
        while self.waiters:
            waiter = self.waiters.popleft()
            self._served += 1
            if not waiter.future.done():
                return waiter
        return None

    def remove(self, waiter: Waiter) -> None:
        # It may have been removed already.
        with suppress(ValueError):
            self.waiters.remove(waiter)

    def accepts(self, now: float) -> bool:
        """Whether another request would be served in time: within a part of the patience during an overload."""
        if not self.waiters:
            return True
        target = self._patience * _TARGET
        longest = target if now - self._refused_at < self._patience else self._patience
        is_standing = now - self._standing_since > self._patience * _STANDING
        is_late = is_standing and now - self.waiters[0].since > target
        if is_late or len(self.waiters) * self._pace(now) > longest:
            self._refused_at = now
            return False
        return True

    def _pace(self, now: float) -> float:
        """The seconds from one served request to the next, measured while the line was not empty."""
        if self._served >= _KNOWN:
            self._seconds_each = (now - self._standing_since) / self._served
        return self._seconds_each
