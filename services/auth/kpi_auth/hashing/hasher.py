"""Password hashing with argon2id in a bounded pool of threads, outside the event loop."""

import asyncio
import os
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from statistics import median
from typing import Annotated, Self, TypeVar

from argon2 import PasswordHasher as Argon2
from argon2.exceptions import InvalidHashError, VerificationError
from fastapi import Depends, FastAPI, Request
from kpi_shared.telemetry.metrics import Metrics

from kpi_auth.hashing.errors import HashingBusyError
from kpi_auth.settings import AuthSettings

Result = TypeVar("Result")
# The lowest priority that nice(2) has: hashing gets the processor time that the event loop and the other parts leave,
# so that many sign-ins at once do not delay other requests.
_NICENESS = 19
_REMEMBERED = 31


class PasswordHasher:
    """argon2id with at most ``hash_workers`` hashes running and ``hash_queue`` waiting; else HashingBusyError."""

    def __init__(self, settings: AuthSettings) -> None:
        self._argon2 = Argon2(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._room = settings.hash_workers + settings.hash_queue
        self._workers = settings.hash_workers
        self._pending = 0
        self._refused = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(settings.hash_workers, "hash", initializer=_lower_priority)
        # Verified where there is no hash, so that an unknown account takes as long as a known one.
        self._dummy = self._argon2.hash(secrets.token_urlsafe(16))
        # How long recent verifications with the current parameters took, in seconds.
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)
        self._verify("", self._dummy)

    async def hash(self, password: str, *, place: "Place | None" = None) -> str:
        """Hash in a place of its own, or in ``place``, which the caller has taken."""
        with nullcontext(place) if place else self.take_place() as taken:
            return await taken.run(lambda: self._argon2.hash(password))

    async def verify(self, password: str, password_hash: str | None, *, place: "Place | None" = None) -> bool:
        """Does the password match? Always takes the time of one hash; False for None.

        As for ``place``, see ``hash``.
        """
        with nullcontext(place) if place else self.take_place() as taken:
            matches = await taken.run(lambda: self._verify(password, password_hash or self._dummy))
        return matches and password_hash is not None

    def check_room(self) -> None:
        """HashingBusyError if no place is free: an early check that takes none."""
        if self._pending >= self._room:
            self._refused += 1
            raise HashingBusyError

    def take_place(self) -> "Place":
        """A place for one hash, for a with statement; HashingBusyError if none is free.

        Taken before any other work, it also protects what follows, such as the database, from too many sign-ins.
        """
        with self._lock:
            if self._pending >= self._room:
                self._refused += 1
                raise HashingBusyError
            self._pending += 1
        return Place(self._pool, self._release_place)

    def register_metrics(self, metrics: Metrics) -> None:
        """Add the queue to the metrics."""
        metrics.add_gauge(
            "kpi_auth_hashes", "Password hashes: total places, running, waiting", ("state",), self._numbers
        )
        text = "Hashes refused because all places were taken"
        metrics.add_counter("kpi_auth_hashes_refused", text, (), lambda: {(): self._refused})

    def _numbers(self) -> dict[tuple[str, ...], float]:
        pending = self._pending
        running = min(pending, self._workers)
        return {("room",): self._room, ("running",): running, ("waiting",): pending - running}

    def is_outdated(self, password_hash: str) -> bool:
        """Was the hash made with parameters other than the current ones?"""
        try:
            return self._argon2.check_needs_rehash(password_hash)
        except InvalidHashError:
            return True

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password: str, password_hash: str) -> bool:
        """Verify in one thread; an older, cheaper hash takes as long as a current one."""
        began = time.perf_counter()
        matches = self._matches(password, password_hash)
        if self.is_outdated(password_hash):
            # Otherwise the time would disclose that the account exists. The thread stays busy, as with a current hash.
            time.sleep(max(0.0, median(tuple(self._recent)) - (time.perf_counter() - began)))
        else:
            self._recent.append(time.perf_counter() - began)
        return matches

    def _matches(self, password: str, password_hash: str) -> bool:
        try:
            return self._argon2.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    def _release_place(self) -> None:
        with self._lock:
            self._pending -= 1


class Place:
    """A place for one hash, released when the hash is done, or at the end of the block if none was started."""

    def __init__(self, pool: ThreadPoolExecutor, release: Callable[[], None]) -> None:
        self._pool = pool
        self._release = release
        self._is_used = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if not self._is_used:
            self._release()

    async def run(self, work: Callable[[], Result]) -> Result:
        future = self._pool.submit(work)
        self._is_used = True
        # Cancelling the caller does not stop its hash, so the place is released only when the hash is done.
        future.add_done_callback(lambda _: self._release())
        return await asyncio.wrap_future(future)


def _lower_priority() -> None:
    """Give the event loop precedence. Only on Linux does each thread have its own niceness."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


async def password_hasher(app: FastAPI) -> AsyncIterator[None]:
    app.state.hasher = PasswordHasher(app.state.settings)
    app.state.hasher.register_metrics(app.state.metrics)
    yield
    app.state.hasher.close()


async def _require_room(request: Request) -> None:
    hasher: PasswordHasher = request.app.state.hasher
    hasher.check_room()


# As the first dependency of an endpoint, it refuses the request before the body is read if no place is free.
RoomToHash = Annotated[None, Depends(_require_room)]
