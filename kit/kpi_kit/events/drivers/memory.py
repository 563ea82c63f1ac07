"""Events in this process: they are delivered before ``dispatch`` returns."""

from typing import TYPE_CHECKING, Any

from kpi_kit.errors import NotOpenError
from kpi_kit.events.contract import Deliver
from kpi_kit.urls import Url

if TYPE_CHECKING:
    from psycopg import AsyncConnection


class MemoryDriver:
    runs_listeners = True

    def __init__(self) -> None:
        self._deliver: Deliver | None = None

    async def open(self, deliver: Deliver) -> None:
        self._deliver = deliver

    async def close(self) -> None:
        self._deliver = None

    async def publish(self, name: str, payload: bytes, _event_id: str) -> None:
        if self._deliver is None:
            raise NotOpenError("event bus")
        await self._deliver(name, payload)

    async def publish_in(self, _connection: "AsyncConnection[Any]", _name: str, _payload: bytes) -> bool:
        return False

    async def subscribe(self) -> None:
        """All who listen are in this process."""

    async def receive(self) -> None:
        """Nothing is stored."""


def create_driver(_url: Url) -> MemoryDriver:
    return MemoryDriver()
