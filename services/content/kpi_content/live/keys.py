"""The Idempotency-Keys of uploads that are being received: a second upload of one is refused, by every replica.

No lock is held, which would take a connection for as long as an upload lasts. Where a process does not listen, or two
uploads begin at the same moment, the end of the second one finds out (``Uploads``).
"""

import secrets
from time import monotonic

import structlog
from kpi_shared.background import Schedule
from kpi_shared.database import Database
from kpi_shared.idempotency.errors import RequestInFlightError

from kpi_content.live import repository

log = structlog.get_logger(__name__)

# A process that has ended without saying so keeps no key for longer than the lease.
_LEASE_SECONDS = 20
RENEWAL = Schedule(interval=5.0, longest_backoff=5.0)


class KeysInFlight:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._process = secrets.token_hex(8)
        self._own: set[str] = set()
        # Of other processes: which one, and until when.
        self._others: dict[str, tuple[str, float]] = {}

    async def take(self, key_hash: bytes | None) -> None:
        """RequestInFlightError if another upload has the key; None is no key."""
        if key_hash is None:
            return
        key = key_hash.hex()
        _, until = self._others.get(key, ("", 0.0))
        if key in self._own or monotonic() < until:
            raise RequestInFlightError
        self._own.add(key)
        try:
            await self._announce([key], seconds=_LEASE_SECONDS)
        except BaseException:
            self._own.discard(key)
            raise

    async def release(self, key_hash: bytes | None) -> None:
        """Let the next upload have it. Without effect on a key that is not taken."""
        if key_hash is None or (key := key_hash.hex()) not in self._own:
            return
        self._own.discard(key)
        try:
            await self._announce([key], seconds=0)
        except Exception as error:  # noqa: BLE001 the lease ends by itself
            log.warning("key not released", error=type(error).__name__)

    async def renew(self) -> bool:
        """A step of background work."""
        now = monotonic()
        self._others = {key: other for key, other in self._others.items() if other[1] > now}
        if self._own:
            await self._announce(sorted(self._own), seconds=_LEASE_SECONDS)
        return False

    def receive(self, payload: str) -> None:
        """ValueError if it is not understood."""
        key, process, seconds = payload.split(" ")
        if int(seconds) and process != self._process:
            self._others[key] = (process, monotonic() + int(seconds))
        elif self._others.get(key, ("", 0.0))[0] == process:
            del self._others[key]

    async def _announce(self, keys: list[str], *, seconds: int) -> None:
        async with self._database.direct() as connection:
            await repository.send_keys(connection, payloads=[f"{key} {self._process} {seconds}" for key in keys])
