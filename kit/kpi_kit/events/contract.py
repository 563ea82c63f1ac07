"""What a driver of the event bus does."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from psycopg import AsyncConnection

# Gets the name and the JSON of an event; it raises nothing, and returns when all listeners have run.
Deliver = Callable[[str, bytes], Coroutine[Any, Any, None]]


class EventDriver(Protocol):
    # Whether ``publish`` runs the listeners, and so takes as long as they do.
    runs_listeners: bool

    async def open(self, deliver: Deliver) -> None: ...

    async def close(self) -> None: ...

    async def publish(self, name: str, payload: bytes, event_id: str) -> None:
        """Returns when the event is stored, in memory when it is delivered.

        ``event_id`` is the same in all attempts to send one event.
        EventsUnavailableError, in a bounded time, if it was not acknowledged.
        """
        ...

    async def publish_in(self, connection: "AsyncConnection[Any]", name: str, payload: bytes) -> bool:
        """Store the event as a part of this transaction; false if the driver cannot."""
        ...

    async def subscribe(self) -> None:
        """Make the group known: from now on, all that is stored is for it, too. Nothing if it is known already.

        EventsUnavailableError, in a bounded time, if the server is away; EventsSchemaError if it has no tables for it.
        """
        ...

    async def receive(self) -> None:
        """Deliver what is stored for the group, each event at least once, until cancelled; it survives all faults.

        It subscribes, too, as the server may have been away. Returns at once if there is nothing to receive.
        """
        ...
