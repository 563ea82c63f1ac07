"""Sliding windows in memory: how many requests each client made.

This is the sliding window counter of the library `limits` 5.8: the requests of the current window, plus those of the
previous one weighted by the share of it that the last ``window`` seconds still cover. The library itself is not used:
it needs two calls for each policy, and its store in memory makes a task for each hit that scans all keys (2026-11-27).
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kpi_gateway.limits.policies import Policy

# A window remembers this many clients and forgets the oldest one for a new one: 200 bytes each.
MAX_CLIENTS = 100_000


class Hit(NamedTuple):
    """One request as one policy sees it: ``client`` is a network or a subject."""

    policy: Policy
    client: str


class Usage(NamedTuple):
    """What one client has used, in the previous and in the current window, and the seconds left of the current one."""

    previous: int
    current: int
    left: float

    def used(self, window: int) -> int:
        return math.floor(self.previous * self.left / window) + self.current

    def wait(self, policy: Policy) -> float:
        """The seconds after which one more request is allowed, if no others are made in the meantime."""
        free = policy.requests - self.current
        if free > 0:
            return self.left - free * policy.window / self.previous
        # By then the current window is the previous one, and its weight has to fall.
        return self.left + policy.window - policy.window * policy.requests / self.current


class LimitOutcome(NamedTuple):
    """Whether every policy allowed the request. Only then has it been counted, and the usages include it."""

    allowed: bool
    usages: Sequence[Usage]


class _Counters:
    """The counts of all clients, in windows of one length that begin at the same time for all of them."""

    def __init__(self, window: int, max_clients: int) -> None:
        self._window = window
        self._max_clients = max_clients
        self._ends = 0.0
        self._previous: OrderedDict[str, int] = OrderedDict()
        self._current: OrderedDict[str, int] = OrderedDict()

    def usage(self, key: str, now: float) -> Usage:
        if now >= self._ends:
            self._begin_window(now)
        return Usage(self._previous.get(key, 0), self._current.get(key, 0), self._ends - now)

    def set(self, key: str, count: int) -> None:
        if count == 1 and len(self._current) >= self._max_clients:
            self._current.popitem(last=False)
        self._current[key] = count

    def __len__(self) -> int:
        return len(self._previous) + len(self._current)

    def _begin_window(self, now: float) -> None:
        # Whole windows are dropped at once, so no sweep has to look for expired counts.
        is_next = now < self._ends + self._window
        self._previous = self._current if is_next else OrderedDict()
        self._current = OrderedDict()
        self._ends = (now // self._window + 1) * self._window


class MemoryWindows:
    """Windows of this process."""

    def __init__(self, *, max_clients: int = MAX_CLIENTS, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_clients = max_clients
        self._clock = clock
        self._counters: dict[int, _Counters] = {}

    def take(self, hits: Sequence[Hit]) -> LimitOutcome:
        """Count one request in every policy, or in none if any of them has no room."""
        now = self._clock()
        found = []
        allowed = True
        for policy, client in hits:
            counters = self._find_counters(policy.window)
            key = policy.key(client)
            usage = counters.usage(key, now)
            found.append((counters, key, usage))
            if usage.used(policy.window) >= policy.requests:
                allowed = False
        if not allowed:
            return LimitOutcome(False, [usage for _, _, usage in found])
        return LimitOutcome(True, [_count(*each) for each in found])

    def clients(self) -> int:
        """The number of counts in memory."""
        return sum(len(counters) for counters in self._counters.values())

    def _find_counters(self, window: int) -> _Counters:
        counters = self._counters.get(window)
        if counters is None:
            counters = self._counters[window] = _Counters(window, self._max_clients)
        return counters


def _count(counters: _Counters, key: str, usage: Usage) -> Usage:
    count = usage.current + 1
    counters.set(key, count)
    return Usage(usage.previous, count, usage.left)
