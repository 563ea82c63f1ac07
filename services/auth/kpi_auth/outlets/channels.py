"""What the worker of an outlet needs of the way out."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from kpi_auth.outlets.models import OutgoingEvent


class OutletError(Exception):
    """The events cannot be delivered now; the message is a reason for the operator, without credentials."""


class Acknowledged(NamedTuple):
    """How many of the events, from the first on, were acknowledged, and why no more, if more were tried."""

    done: int
    error: str | None = None


class Channel(Protocol):
    """An open way out. It delivers in order: no event arrives after a later one that had not arrived before it."""

    async def deliver(self, events: Sequence[OutgoingEvent]) -> Acknowledged: ...


class Transport(Protocol):
    def open(self) -> AbstractAsyncContextManager[Channel]:
        """Open a channel within a few seconds, or raise OutletError."""
        ...
