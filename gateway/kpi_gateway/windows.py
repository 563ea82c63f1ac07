"""Sliding windows in memory: how many requests each client made.

They count as `limits`' sliding window counter does: the requests of this window, and those of the one before by the
share of it that the last ``window`` seconds still cover. They are a storage of that library with one more way in, which
decides about several policies at once and says what is left: its own takes two calls for each policy.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from limits.aio.storage import MemoryStorage

from kpi_gateway.policies import Policy

# A window remembers so many clients, and forgets the one that it has known longest for a new one: 200 bytes each.
MOST_CLIENTS = 100_000


class Hit(NamedTuple):
    """One request as one policy sees it: ``client`` is a network or a subject."""

    policy: Policy
    client: str


class Usage(NamedTuple):
    """What one client has used: in the window before, in this one, and how many seconds are left of this one."""

    before: int
    current: int
    left: float

    def used(self, window: int) -> int:
        return math.floor(self.before * self.left / window) + self.current

    def wait(self, policy: Policy) -> float:
        """The seconds after which one more is allowed, if nothing else is asked for meanwhile."""
        free = policy.requests - self.current
        if free > 0:
            return self.left - free * policy.window / self.before
        # This window is then the one before, and its weight has to fall.
        return self.left + policy.window - policy.window * policy.requests / self.current


class Outcome(NamedTuple):
    """Whether every policy allowed the request; only then has it been counted, and stands in the usages."""

    allowed: bool
    usages: Sequence[Usage]


class _Counters:
    """The counts of all clients, in windows of one length that begin for all at the same time."""

    def __init__(self, window: int, most: int) -> None:
        self._window = window
        self._most = most
        self._ends = 0.0
        self._before: OrderedDict[str, int] = OrderedDict()
        self._current: OrderedDict[str, int] = OrderedDict()

    def usage(self, key: str, now: float) -> Usage:
        if now >= self._ends:
            self._turn(now)
        return Usage(self._before.get(key, 0), self._current.get(key, 0), self._ends - now)

    def count(self, key: str, count: int) -> None:
        if count == 1 and len(self._current) >= self._most:
            self._current.popitem(last=False)
        self._current[key] = count

    def forget(self, key: str) -> None:
        self._before.pop(key, None)
        self._current.pop(key, None)

    def __len__(self) -> int:
        return len(self._before) + len(self._current)

    def _turn(self, now: float) -> None:
        # Whole generations are let go, so no sweep has to look for what is over.
        follows = now < self._ends + self._window
        self._before = self._current if follows else OrderedDict()
        self._current = OrderedDict()
        self._ends = (now // self._window + 1) * self._window


class MemoryWindows(MemoryStorage):
    """Windows of this process. The library's own keep a lock and a task for each hit, and scan all keys with it."""

    def __init__(self, *, most_clients: int = MOST_CLIENTS, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most = most_clients
        self._clock = clock
        self._counters: dict[int, _Counters] = {}

    def take(self, hits: Sequence[Hit]) -> Outcome:
        """Count one request in every policy, or in none when one of them has no room."""
        now = self._clock()
        found = []
        allowed = True
        for policy, client in hits:
            counters = self._of(policy.window)
            key = policy.key(client)
            usage = counters.usage(key, now)
            found.append((counters, key, usage))
            if usage.used(policy.window) >= policy.requests:
                allowed = False
        if not allowed:
            return Outcome(False, [usage for _, _, usage in found])
        return Outcome(True, [_counted(*each) for each in found])

    def clients(self) -> int:
        """How many counts are remembered."""
        return sum(len(counters) for counters in self._counters.values())

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        counters = self._of(expiry)
        usage = counters.usage(key, self._clock())
        if usage.used(expiry) + amount > limit:
            return False
        counters.count(key, usage.current + amount)
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        before, count, left = self._of(expiry).usage(key, self._clock())
        return before, left if before else 0.0, count, left + expiry

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        self._of(expiry).forget(key)

    def _of(self, window: int) -> _Counters:
        counters = self._counters.get(window)
        if counters is None:
            counters = self._counters[window] = _Counters(window, self._most)
        return counters


def _counted(counters: _Counters, key: str, usage: Usage) -> Usage:
    count = usage.current + 1
    counters.count(key, count)
    return Usage(usage.before, count, usage.left)
