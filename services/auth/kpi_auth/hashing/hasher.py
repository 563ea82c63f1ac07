"""Hashing passwords with argon2id, in a bounded pool of threads beside the event loop."""

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
# How much less of a processor a hashing thread gets than the event loop and the other parts, when both want it (see
# nice(2)): as little as there is. Hashing takes what is left, and a storm of sign-ins holds up nobody else.
_NICENESS = 19
_REMEMBERED = 31


class PasswordHasher:
    """argon2id with at most ``hash_workers`` at work and ``hash_queue`` waiting; beyond that, HashingBusyError."""

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
        # Checked where there is no hash to check, so that an unknown account takes as long as a known one.
        self._dummy = self._argon2.hash(secrets.token_urlsafe(16))
        # How long verifications of today's parameters took of late, in seconds.
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)
        self._verify("", self._dummy)

    async def hash(self, password: str, *, place: "Place | None" = None) -> str:
        """In a place of its own, or in the one that the caller has taken."""
        with nullcontext(place) if place else self.take_place() as taken:
            return await taken.run(lambda: self._argon2.hash(password))

    async def verify(self, password: str, password_hash: str | None, *, place: "Place | None" = None) -> bool:
        """Does the password fit? Always takes the time of one hash, and is False for None.

        As for ``place``, see ``hash``.
        """
        with nullcontext(place) if place else self.take_place() as taken:
            matches = await taken.run(lambda: self._verify(password, password_hash or self._dummy))
        return matches and password_hash is not None

    def check_room(self) -> None:
        """HashingBusyError if there is no place just now, for a look before anything else is done."""
        if self._pending >= self._room:
            self._refused += 1
            raise HashingBusyError

    def take_place(self) -> "Place":
        """A place among those who hash and wait, or HashingBusyError: for the length of a with statement.

        Whoever takes one before anything else keeps a storm of sign-ins from everything behind it too.
        """
        with self._lock:
            if self._pending >= self._room:
                self._refused += 1
                raise HashingBusyError
            self._pending += 1
        return Place(self._pool, self._release_place)

    def register_metrics(self, metrics: Metrics) -> None:
        """Have the queue among the metrics."""
        metrics.add_gauge(
            "kpi_auth_hashes", "Password hashes: places in all, at work, waiting", ("state",), self._numbers
        )
        text = "Hashes refused because all places were taken"
        metrics.add_counter("kpi_auth_hashes_refused", text, (), lambda: {(): self._refused})

    def _numbers(self) -> dict[tuple[str, ...], float]:
        pending = self._pending
        running = min(pending, self._workers)
        return {("room",): self._room, ("running",): running, ("waiting",): pending - running}

    def is_outdated(self, password_hash: str) -> bool:
        """Was the hash made with other parameters than today's?"""
        try:
            return self._argon2.check_needs_rehash(password_hash)
        except InvalidHashError:
            return True

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password: str, password_hash: str) -> bool:
        """One verification in one thread, which takes as long for an older, cheaper hash as for one of today."""
        began = time.perf_counter()
        matches = self._matches(password, password_hash)
        if self.is_outdated(password_hash):
            # The account would be told from one that does not exist. The thread stays taken, as it would be.
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
    """Room for one hash, given back when the hash is done, or at the end of the block where none was made."""

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
        # A caller that hangs up does not stop its hash, so its place is free only when the hash is done.
        future.add_done_callback(lambda _: self._release())
        return await asyncio.wrap_future(future)


def _lower_priority() -> None:
    """Let the event loop go first. Only on Linux has a thread a niceness of its own."""
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


# Named first among an endpoint's dependencies, it refuses what cannot be hashed before the body is read.
RoomToHash = Annotated[None, Depends(_require_room)]
