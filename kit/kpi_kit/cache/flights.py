"""One making of a value at a time in this process, for all who wait for it."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any


@dataclass
class _Flight:
    task: asyncio.Task[bytes]
    tags: Collection[str]
    waiting: int = 0


class Flights:
    """Coroutines by name: a caller that comes while one of the same name is under way gets its result, or its error."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight] = {}

    async def run(
        self, name: str, make: Callable[[], Coroutine[Any, Any, bytes]], *, tags: Collection[str] = ()
    ) -> bytes:
        """It ends early only when all who wait for it are cancelled."""
        flight = self._flights.get(name) or self._begin(name, make, tags)
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                self._end(name, flight)

    def close_to_others(self, matches: Callable[[str, Collection[str]], bool]) -> None:
        """Those who wait get its result; who comes later begins a new one. ``matches`` gets the name and the tags."""
        for name, flight in list(self._flights.items()):
            if matches(name, flight.tags):
                del self._flights[name]

    def _begin(self, name: str, make: Callable[[], Coroutine[Any, Any, bytes]], tags: Collection[str]) -> _Flight:
        flight = self._flights[name] = _Flight(asyncio.create_task(make()), tags)
        flight.task.add_done_callback(lambda _: self._end(name, flight))
        return flight

    def _end(self, name: str, flight: _Flight) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]
        if not flight.task.cancel() and not flight.task.cancelled():
            # Read, so that the loop does not report it when all who waited were cancelled in the same moment.
            flight.task.exception()
