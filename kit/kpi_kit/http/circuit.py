"""The circuit of one host: after failures in a row nothing is sent, until one request has found that it works again.

Looked at on 2026-11-28: circuitbreaker 2.1.3, purgatory 3.0.1 and aiobreaker 1.2.0. In half-open state each of them
lets all waiting requests through at once (ten of ten), which is what a server that has just come back cannot bear. See
docs/adr/0060.
"""

import time
from collections.abc import Callable
from enum import StrEnum

from kpi_kit.http.errors import CircuitOpenError
from kpi_kit.http.messages import Request


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Circuit:
    """Each attempt calls ``enter``, and at its end ``record``."""

    def __init__(self, *, open_after: int, open_for: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._open_after = open_after
        self._open_for = open_for
        self._clock = clock
        self._failures = 0
        self._opens_until: float | None = None
        self._probe: object = None

    @property
    def state(self) -> CircuitState:
        if self._opens_until is None:
            return CircuitState.CLOSED
        is_over = self._probe is not None or self._clock() >= self._opens_until
        return CircuitState.HALF_OPEN if is_over else CircuitState.OPEN

    def enter(self, request: Request) -> None:
        """CircuitOpenError if the request must not be sent."""
        if self._opens_until is None:
            return
        if self._probe is not None or self._clock() < self._opens_until:
            raise CircuitOpenError(request, max(0.0, self._opens_until - self._clock()))
        self._probe = request

    def record(self, request: Request, *, is_outage: bool | None) -> None:
        """The end of an attempt; None if it says nothing about the host, as when its caller was cancelled."""
        is_probe = self._probe is request
        if is_probe:
            self._probe = None
        if is_outage:
            self._failures += 1
            if is_probe or (self._opens_until is None and self._failures >= self._open_after):
                self._opens_until = self._clock() + self._open_for
        elif is_outage is False and (is_probe or self._opens_until is None):
            # A success that was sent before the circuit opened says nothing of now.
            self._failures, self._opens_until = 0, None
