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
from statistics import median
from typing import Annotated, Self, TypeVar

import structlog
from fastapi import Depends, FastAPI, Request
from kpi_kit.hashing import HashFunctions, Parameters, RefusedHashError
from kpi_shared.places import Places, Turn
from kpi_shared.telemetry.metrics import Metrics

from kpi_auth.hashing.askers import ANYONE, Asker, Familiar
from kpi_auth.hashing.decoys import Decoys
from kpi_auth.hashing.errors import HashingBusyError
from kpi_auth.origin import RequestOrigin
from kpi_auth.settings import AuthSettings

log = structlog.get_logger("kpi_auth.hashing")
Result = TypeVar("Result")
# The lowest priority that nice(2) has: hashing gets the processor time that the event loop and the other parts leave,
# so that many sign-ins at once do not delay other requests.
_NICENESS = 19
_REMEMBERED = 31


class PasswordHasher:
    """argon2id with at most ``hash_workers`` hashes running and ``hash_queue`` waiting; else HashingBusyError.

    The hash functions are the kit's, which also verify what older systems stored. The queue is fair: see
    ``kpi_shared.places``, and ``askers`` for the sources.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._functions = functions_of(settings)
        self._workers = settings.hash_workers
        self._room = settings.hash_workers + settings.hash_queue
        self._pool = ThreadPoolExecutor(settings.hash_workers, "hash", initializer=_lower_priority)
        usual = self._functions.make(secrets.token_urlsafe(16))
        # Verified where there is no hash, so that an unknown account takes as long as a known one.
        self.decoys = Decoys.of(settings, usual)
        # How long recent verifications with the current parameters took, in seconds.
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)
        self._verify("", usual)
        # Some turns more than threads, so that these are busy while the next request looks up its account.
        ahead = min(settings.hash_workers, settings.hash_queue)
        self._places = Places(
            settings.hash_workers + ahead,
            waiting=settings.hash_queue - ahead,
            patience=settings.hash_patience,
            usual=2 * self._recent[0],
            refusal=HashingBusyError,
        )
        self._familiar = Familiar()

    async def hash(self, password: str, *, by: Asker = ANYONE, place: "Place | None" = None) -> str:
        """Hash in a place of its own, or in ``place``, which the caller has taken."""
        with place or await self.take_place(by) as taken:
            return await taken.run(lambda: self._functions.make(password))

    async def verify(
        self,
        password: str,
        password_hash: str | None,
        *,
        by: Asker = ANYONE,
        place: "Place | None" = None,
        login: str | None = None,
    ) -> bool:
        """Does the password match? Always takes the time of one hash; False for None.

        For None, ``login`` decides how long it takes (see ``decoys``). As for ``place``, see ``hash``.
        """
        stored = password_hash or self.decoys.choose(login)
        with place or await self.take_place(by) as taken:
            matches = await taken.run(lambda: self._verify(password, stored))
        return matches and password_hash is not None

    @property
    def is_busy(self) -> bool:
        """Would a hash have to wait for its turn?"""
        return self._places.taken >= self._places.total

    def check_room(self, by: Asker = ANYONE) -> None:
        """HashingBusyError if there is no room for a request from this address: an early check that takes none."""
        if not self._familiar.has_address(by):
            # The account is not known yet: it is taken to ask for as much as its address does.
            self._places.check_room(*by.sources, *by.sources)

    async def take_place(self, by: Asker = ANYONE) -> "Place":
        """A place for one hash, for a with statement, when it is this request's turn; else HashingBusyError.

        Taken before any other work, it also protects what follows, such as the database, from too many sign-ins.
        """
        if self._familiar.has(by):
            return Place(self._pool, await self._places.take(by, is_favoured=True))
        return Place(self._pool, await self._places.take(*by.sources))

    def welcome(self, by: Asker, place: "Place") -> None:
        """The password was right: charge nothing for it, and favour this account at this address from now on."""
        place.forgive()
        self._familiar.add(by)

    def register_metrics(self, metrics: Metrics) -> None:
        """Add the queue to the metrics."""
        metrics.add_gauge(
            "kpi_auth_hashes", "Password hashes: total places, running, waiting", ("state",), self._numbers
        )
        text = "Hashes refused because all places were taken"
        metrics.add_counter("kpi_auth_hashes_refused", text, (), lambda: {(): self._places.refused})

    def _numbers(self) -> dict[tuple[str, ...], float]:
        pending = self._places.taken + self._places.waiting
        running = min(pending, self._workers)
        return {("room",): self._room, ("running",): running, ("waiting",): pending - running}

    def is_outdated(self, password_hash: str) -> bool:
        """Was the hash made with other parameters than the current ones, or with another function?"""
        return self._functions.needs_rehash(password_hash)

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
            return self._functions.verify(password, password_hash)
        except RefusedHashError as error:
            # It was written into the database by hand: the import refuses it. Its owner needs another password.
            log.warning("a stored hash was refused", reason=str(error))
            return False


def functions_of(settings: AuthSettings) -> HashFunctions:
    """The kit's functions with the parameters of the settings, without a pool."""
    return HashFunctions(Parameters(settings.argon2_time_cost, settings.argon2_memory_kib, settings.argon2_parallelism))


class Place:
    """A place for one hash, given back when the hash is done, or at the end of the block if none was started."""

    def __init__(self, pool: ThreadPoolExecutor, turn: Turn) -> None:
        self._pool = pool
        self._turn = turn
        self._is_used = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if not self._is_used:
            self._turn.give_back()

    async def run(self, work: Callable[[], Result]) -> Result:
        loop = asyncio.get_running_loop()
        future = self._pool.submit(work)
        self._is_used = True
        # Cancelling the caller stops a hash that has not begun. One that has begun continues, and keeps its place until
        # it is done.
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._turn.give_back))
        return await asyncio.wrap_future(future)

    def forgive(self) -> None:
        """Charge the hash that was done here to no source."""
        self._turn.give_back()
        self._turn.forgive()


def _lower_priority() -> None:
    """Give the event loop precedence. Only on Linux does each thread have its own niceness."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


async def password_hasher(app: FastAPI) -> AsyncIterator[None]:
    app.state.hasher = PasswordHasher(app.state.settings)
    app.state.hasher.register_metrics(app.state.metrics)
    yield
    app.state.hasher.close()


async def _require_room(request: Request, origin: RequestOrigin) -> None:
    hasher: PasswordHasher = request.app.state.hasher
    hasher.check_room(Asker.of(origin))


# As the first dependency of an endpoint, it refuses the request before the body is read if no place is free.
RoomToHash = Annotated[None, Depends(_require_room)]
