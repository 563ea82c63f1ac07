"""Resolve hosts that others have named: one whose name server does not respond delays no other."""

import asyncio
import socket
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from kpi_kit.daemons import run_in_daemon

# Threads for look-ups: of hosts that were resolved in time at their last look-up, and of others.
_THREADS = {True: 32, False: 16}
_MOST_KNOWN = 1000


class Resolver(Protocol):
    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of a host; OSError if there are none, UnicodeError if this cannot be the name of one."""


class SystemResolver:
    """Resolves in threads of its own, so that hosts whose servers do not respond delay no other work.

    A look-up cannot be ended: it holds its thread until the system gives up, perhaps for half a minute. So each host
    has one at most, and hosts whose last look-up was not in time leave two thirds of the threads to those whose was.
    None of them holds the end of the process.
    """

    def __init__(self) -> None:
        self._places = {is_known: asyncio.Semaphore(count) for is_known, count in _THREADS.items()}
        self._lookups: dict[str, asyncio.Future[list[str]]] = {}
        # Hosts whose last look-up has succeeded before its callers gave up, or may yet do so; the latest at the end.
        self._known: dict[str, None] = {}
        self._is_closed = False

    async def __call__(self, host: str) -> list[str]:
        try:
            if host not in self._lookups:
                await self._begin(host)
            return await asyncio.shield(self._lookups[host])
        except asyncio.CancelledError:
            self._known.pop(host, None)
            raise

    async def _begin(self, host: str) -> None:
        places = self._places[host in self._known]
        await places.acquire()
        if host in self._lookups:
            # Another caller has begun it in the meantime.
            places.release()
            return
        try:
            lookup = self._start(host)
        except OSError:
            places.release()
            raise
        # For its next look-up: a caller who gives this one up, or its failure, ends that.
        self._known.pop(host, None)
        self._known[host] = None
        self._lookups[host] = lookup
        lookup.add_done_callback(lambda done: self._end(host, places, done))

    def _end(self, host: str, places: asyncio.Semaphore, done: asyncio.Future[list[str]]) -> None:
        places.release()
        del self._lookups[host]
        # The exception is read also where its callers have given up: else the loop reports one that was not looked at.
        if done.cancelled() or done.exception() is not None:
            self._known.pop(host, None)
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def _start(self, host: str) -> "asyncio.Future[list[str]]":
        if self._is_closed:
            raise OSError("the resolver is closed")
        try:
            return run_in_daemon(partial(_look_up, host), name="kpi-kit-resolver")
        except RuntimeError as error:
            raise OSError("the system has no thread for a look-up") from error

    def close(self) -> None:
        """Look-ups that are under way go on; further ones raise OSError."""
        self._is_closed = True


def _look_up(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
