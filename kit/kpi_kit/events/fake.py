"""An event bus for tests: in memory, with a record of what was dispatched."""

from collections.abc import Iterable
from typing import Self, TypeVar

from kpi_kit.events.bus import EventBus
from kpi_kit.events.drivers.memory import MemoryDriver
from kpi_kit.events.errors import EventsUnavailableError
from kpi_kit.events.event import Event
from kpi_kit.payloads import read_json

E = TypeVar("E", bound=Event)


class FakeDriver(MemoryDriver):
    """It keeps what was published."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.published: list[tuple[str, bytes]] = []

    async def publish(self, name: str, payload: bytes, event_id: str) -> None:
        if self.is_down:
            raise EventsUnavailableError("the event bus is down, as this test has asked")
        self.published.append((name, payload))
        await super().publish(name, payload, event_id)


class EventFake(EventBus):
    """``async with EventFake(events=[...]) as bus``: listeners run before ``dispatch`` returns.

    While ``is_down`` is set, nothing is acknowledged.
    """

    def __init__(self, *, events: Iterable[type[Event]], concurrent: bool = False) -> None:
        self._fake = FakeDriver()
        super().__init__(self._fake, name="fake", events=events, concurrent=concurrent)

    @classmethod
    def from_url(cls, *_: object, events: Iterable[type[Event]], concurrent: bool = False, **_others: object) -> Self:
        """A fake, whatever the URL, so that a test can put this class in the place of the real one."""
        return cls(events=events, concurrent=concurrent)

    @property
    def is_down(self) -> bool:
        return self._fake.is_down

    @is_down.setter
    def is_down(self, is_down: bool) -> None:
        self._fake.is_down = is_down

    def find(self, event_type: type[E]) -> list[E]:
        """The events of this type that were dispatched, in their order."""
        return [
            read_json(event_type, payload) for name, payload in self._fake.published if name == event_type.event_name
        ]

    def assert_dispatched(self, event: Event) -> None:
        found = self.find(type(event))
        if event not in found:
            raise AssertionError(f"{event!r} was not dispatched; of its type there were {found}")

    def assert_nothing_dispatched(self) -> None:
        if self._fake.published:
            raise AssertionError(f"events were dispatched: {[name for name, _ in self._fake.published]}")
