"""Which addresses of an upstream are in rotation, by their readiness and by the errors that they respond with.

The outlier detection and active health checks of Envoy and HAProxy were looked at: programs, not libraries. No kept
library for asyncio has either (2026-11-27).
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextvars import Context
from typing import NamedTuple

import structlog

from kpi_gateway.upstream.balancing import Address, Upstream
from kpi_gateway.upstream.connection import Connection, NoResponseError
from kpi_gateway.upstream.contract import (
    BrokenConnectionError,
    NotBegunError,
    UpstreamError,
    UpstreamRequest,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from kpi_gateway.upstream.round_trips import RoundTrip
from kpi_gateway.upstream.sending import connect, write

log = structlog.get_logger(__name__)

_PROBE = UpstreamRequest(b"GET", "", b"/health/ready", [])
# What says that an address cannot serve. Others may not know the page and respond with 404.
_NOT_READY = frozenset({500, 502, 503, 504})
# A probe that fails is worth two points, one that is late although requests get responses one point: the service is
# busy. At this number the address is out. It is back after this number of successes in a row.
_POINTS = 4
_SUCCESSES = 2
# The least pause between two probes of an address that is suspected.
_LEAST_PAUSE = 0.05
# A missing response is worth as many errors: each takes a request's whole time, in which the address gets hardly any
# others, so that there are few of them.
_MISSING = 4
# An address whose share of errors is at least _HIGH is out if another one's is at most _LOW, each with at least
# _ENOUGH responses in the last 2 or 20 probes.
_ENOUGH = 10
_HIGH = 0.5
_LOW = 0.1
_SHORT_WINDOW, _LONG_WINDOW = 2, 20
# It looks ready, so it is out for this time in seconds, which doubles if it happens again within the same time.
_HOLD_SECONDS = 5.0
_LONGEST_HOLD = 60.0
# How long each address has for its answer, of two, when the gateway's own readiness is asked for.
_READY_SECONDS = 0.75


class _Counts(NamedTuple):
    """Responses and errors among them, missing responses included in both."""

    responses: int
    errors: int

    @classmethod
    def of(cls, address: Address) -> "_Counts":
        missing = address.errors * _MISSING
        return cls(address.responses + missing, address.server_errors + missing)

    def until(self, later: "_Counts") -> "_Counts":
        return _Counts(later.responses - self.responses, later.errors - self.errors)

    @property
    def share(self) -> float | None:
        """The share of errors; None if there are too few responses to tell."""
        return self.errors / self.responses if self.responses >= _ENOUGH else None


class _Prober:
    """Probes one address, and judges it after each probe."""

    def __init__(self, upstream: Upstream, address: Address, seconds: float) -> None:
        self.address = address
        self.suspicion = asyncio.Event()
        self.siblings: list[_Prober] = []
        self._upstream = upstream
        self._seconds = seconds
        self._points = 0
        self._successes = 0
        self._seen: deque[_Counts] = deque([_Counts.of(address)], maxlen=_LONG_WINDOW + 1)
        self._hold = _HOLD_SECONDS
        self._held_until = 0.0

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._probe()
            except Exception:
                # Whatever the error: without probes the address would never come back.
                log.exception("upstream address could not be probed", address=self.address.url)
            await self._pause(began + self._seconds - loop.time())

    async def _pause(self, seconds: float) -> None:
        least = min(_LEAST_PAUSE, self._seconds)
        await asyncio.sleep(least)
        try:
            async with asyncio.timeout(max(0.0, seconds - least)):
                await self.suspicion.wait()
        except TimeoutError:
            pass

    async def _probe(self) -> None:
        before = self.address.responses
        # A connection of its own after a failure: idle ones may be the failure.
        problem = await ask(self.address, self._seconds, fresh=self._points > 0)
        if not problem:
            self._note_success()
        else:
            is_busy = problem == LATE and self.address.responses > before
            self._note_failure(problem, points=1 if is_busy else 2)
        self.suspicion.clear()
        self._compare()

    def _note_success(self) -> None:
        self._points = 0
        self._successes += 1
        now = asyncio.get_running_loop().time()
        if self.address.is_out and self._successes >= _SUCCESSES and now >= self._held_until:
            # A new beginning: responses from before it went out must not take it out again.
            self._seen = deque([_Counts.of(self.address)], maxlen=_LONG_WINDOW + 1)
            self._upstream.restore(self.address)

    def _note_failure(self, problem: str, points: int) -> None:
        self._successes = 0
        self._points += points
        if self.suspicion.is_set():
            self._points += points
        if self._points >= _POINTS and not self.address.is_out:
            self._upstream.take_out(self.address, problem)

    def _compare(self) -> None:
        """Take it out if most of its responses are errors or missing, and those of another address are not."""
        self._seen.append(_Counts.of(self.address))
        if self.address.is_out:
            return
        for length in (_SHORT_WINDOW, _LONG_WINDOW):
            share = self.error_share(length)
            others = [each.error_share(length) for each in self.siblings if not each.address.is_out]
            if share is not None and share >= _HIGH and any(other is not None and other <= _LOW for other in others):
                self._hold_out(share)
                return

    def _hold_out(self, share: float) -> None:
        now = asyncio.get_running_loop().time()
        was_long_ago = now - self._held_until > self._hold
        self._hold = _HOLD_SECONDS if was_long_ago else min(_LONGEST_HOLD, self._hold * 2)
        self._held_until = now + self._hold
        self._upstream.take_out(self.address, f"{share:.0%} errors")

    def error_share(self, length: int) -> float | None:
        """Of the responses since so many probes ago; None if there are too few to tell."""
        seen = self._seen
        return seen[max(0, len(seen) - 1 - length)].until(_Counts.of(self.address)).share


class Rotation:
    """Probes the addresses of each upstream that has several. The only one of an upstream is never out."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._probers: dict[Address, _Prober] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, upstreams: Iterable[Upstream]) -> None:
        for upstream in upstreams:
            if len(upstream.addresses) > 1:
                self._start_probers(upstream)

    def _start_probers(self, upstream: Upstream) -> None:
        probers = [_Prober(upstream, address, self._seconds) for address in upstream.addresses]
        for prober in probers:
            prober.siblings = [other for other in probers if other is not prober]
            self._probers[prober.address] = prober
            # An empty context: its log lines belong to no request.
            self._tasks.append(asyncio.create_task(prober.run(), context=Context()))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def suspect(self, address: Address) -> None:
        """Probe it at once; if the probe fails, it is out."""
        self._probers[address].suspicion.set()


# Why an address did not respond to a probe.
UNREACHABLE = UpstreamUnreachableError.type
LATE = UpstreamTimeoutError.type
BROKEN = BrokenConnectionError.type
NO_RESPONSE = frozenset({UNREACHABLE, LATE, BROKEN})


async def find_problem(upstream: Upstream) -> str:
    """Why no address of the upstream is ready, or an empty text. Each is asked twice: one late answer means nothing."""
    problems: list[str] = []
    for fresh in (False, True):
        asked = [ask(address, _READY_SECONDS, fresh=fresh) for address in upstream.addresses]
        problems = await asyncio.gather(*asked)
        if "" in problems:
            return ""
    # One that responded says more than one that did not.
    return max(problems, key=lambda problem: problem not in NO_RESPONSE)


async def ask(address: Address, seconds: float, *, fresh: bool) -> str:
    """Why the address is not ready, or an empty text; outside the places that requests wait for."""
    try:
        async with asyncio.timeout(seconds):
            status = await _ask(address, seconds, fresh=fresh)
    except TimeoutError:
        return LATE
    except (OSError, UpstreamError) as error:
        return error.type if isinstance(error, UpstreamError) else UNREACHABLE
    return f"status {status}" if status in _NOT_READY else ""


async def _ask(address: Address, seconds: float, *, fresh: bool) -> int:
    idle = None if fresh else address.take_idle()
    if idle is not None:
        try:
            return await _send_probe(address, idle, seconds)
        except (NoResponseError, NotBegunError):
            # It was being closed.
            pass
    return await _send_probe(address, await connect(address, seconds), seconds)


async def _send_probe(address: Address, connection: Connection, seconds: float) -> int:
    deadline = asyncio.get_running_loop().time() + seconds
    round_trip = RoundTrip(no_body=False, deadline=deadline, silence=seconds, on_end=_do_nothing)
    try:
        write(connection, round_trip, _PROBE, address.endpoint.authority, seconds)
        await round_trip.head
        return round_trip.status
    finally:
        round_trip.close()


def _do_nothing() -> None:
    pass
