"""Which keys a process holds, reported to auth: a rotation goes on when every process has what it needs."""

import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import structlog
from pydantic import BaseModel, ConfigDict, Field

from kpi_shared.background import Schedule, repeat
from kpi_shared.key_ring import KeyRing, Purpose
from kpi_shared.tokens import TokenCodec

log = structlog.get_logger(__name__)

# A process that has not reported for three times that long is gone.
REPORT_SECONDS = 5.0
_LOOK_SECONDS = 0.25
_RETRY_SECONDS = 1.0
HOLDERS_PATH = "/internal/token-keys/holders"


class Holding(NamedTuple):
    """The keys of one process, by their state."""

    part: str
    instance: str
    purpose: Purpose
    keys: dict[str, str]


class KilledKeys(BaseModel):
    """Auth's response to a report: the keys that no process may accept any more."""

    model_config = ConfigDict(hide_input_in_errors=True)

    killed: list[str] = Field(max_length=10_000)


# Sends a report and returns the ids of all killed keys.
Send = Callable[[Holding], Awaitable[Iterable[str]]]


class KeyReporter:
    """Reports at once when the ring has changed, and every five seconds."""

    def __init__(self, codec: TokenCodec, *, part: str, send: Send) -> None:
        self._codec = codec
        self._part = part
        self._send = send
        # Unlike the number of a process, it is never given to another one.
        self._instance = f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._reported: KeyRing | None = None
        self._has_failed = False
        self._looks = 0

    async def run(self) -> None:
        await repeat(self.step, Schedule(_LOOK_SECONDS), failure="keys not reported")

    async def step(self) -> bool:
        self._looks += 1
        if self._is_due():
            self._looks = 0
            await self._report(self._codec.ring)
        return False

    def _is_due(self) -> bool:
        passed = self._looks * _LOOK_SECONDS
        if self._has_failed:
            return passed >= _RETRY_SECONDS
        return passed >= REPORT_SECONDS or self._codec.ring is not self._reported

    async def _report(self, ring: KeyRing) -> None:
        try:
            killed = await self._send(Holding(self._part, self._instance, ring.purpose, ring.states))
        except Exception as error:  # noqa: BLE001 whatever fails now may succeed later
            if not self._has_failed:
                log.warning("keys not reported", error=type(error).__name__)
            self._has_failed = True
            return
        self._reported, self._has_failed = ring, False
        self._codec.kill(*killed)
