"""Events and buses for tests."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kpi_kit.events import Event, EventBus, EventFake, EventsUnavailableError
from pydantic import field_validator


class UserCreated(Event):
    event_name = "user.created"
    name: str


class UserRenamed(Event):
    event_name = "user.renamed"
    name: str


class OrderCreated(Event):
    event_name = "order.created"
    number: int


class AddressCreated(Event):
    event_name = "user.address.created"
    street: str = ""

    @field_validator("street")
    @classmethod
    def check_street(cls, street: str) -> str:
        if street == "odd":
            raise LookupError("no ValueError, which pydantic would wrap")
        return street


EVENTS = (UserCreated, UserRenamed, OrderCreated, AddressCreated)


@dataclass
class Case:
    """One driver; ``url`` ends with the beginning of a query. There is none for the fake."""

    name: str
    url: str

    @property
    def is_durable(self) -> bool:
        return self.name in ("postgresql", "nats")

    def build(
        self, *, group: str = "default", keep_days: int = 7, concurrent: bool = False, **options: Any
    ) -> EventBus:
        if self.name == "fake":
            return EventFake(events=EVENTS, concurrent=concurrent)
        url = f"{self.url}&group={group}&keep_days={keep_days}" if self.is_durable else self.url
        return EventBus.from_url(url, events=EVENTS, concurrent=concurrent, **options)


class Ear:
    """A listener that keeps what it gets, and fails with the error that it is given."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.heard: list[Event] = []
        self._error = error

    async def __call__(self, event: Event) -> None:
        self.heard.append(event)
        if self._error is not None:
            raise self._error


class Watch:
    """An observer that keeps what it sees."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, ...]] = []

    @contextmanager
    def observe(self, library: str, operation: str, driver: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.seen.append((library, operation, driver, type(error).__name__))
            raise
        self.seen.append((library, operation, driver, ""))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not condition():  # noqa: ASYNC110 the condition is of any kind
            await asyncio.sleep(0.01)


async def acknowledge(dispatch: Callable[[], Awaitable[None]]) -> int:
    """Dispatch until it is acknowledged; returns the number of attempts."""
    async with asyncio.timeout(40):
        for attempt in range(1, 1000):
            with suppress(EventsUnavailableError):
                await dispatch()
                return attempt
            await asyncio.sleep(0.05)
    raise AssertionError


async def until_received(bus: EventBus, ear: Ear) -> None:
    """Until the group of the bus is known to the server: what is sent before is for others."""
    probe, last = OrderCreated(number=-1), OrderCreated(number=-2)
    async with asyncio.timeout(30):
        while probe not in ear.heard:
            await acknowledge(lambda: bus.dispatch(probe))
            await asyncio.sleep(0.01)
    # After it, no probe is under way: one process handles one event after the other.
    await acknowledge(lambda: bus.dispatch(last))
    await until(lambda: last in ear.heard)
    ear.heard.clear()
