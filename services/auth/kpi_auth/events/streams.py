"""Streams of events: what a client has missed, then what happens, and a heartbeat however much happens."""

from collections.abc import AsyncIterator, Iterable
from time import monotonic
from typing import Any

from kpi_shared.errors import ProblemError
from pydantic_core import to_json

from kpi_auth.events.feed import Feed
from kpi_auth.events.models import PlacedEvent
from kpi_auth.events.relay import BATCH
from kpi_auth.events.revocations import seconds_left

HEARTBEAT_SECONDS = 0.2


class EventStream:
    """The lines of one response."""

    def __init__(self, feed: Feed, *, after: int, lifetime: float) -> None:
        self._feed = feed
        self._sent = after
        self._lifetime = lifetime
        self._due_at = 0.0

    async def lines(self) -> AsyncIterator[bytes]:
        """Each item is one or more complete lines. The first is a heartbeat, so that the response starts at once."""
        yield self._heartbeat(self._feed.behind)
        try:
            async for part in self._send_missed():
                yield part
        except ProblemError:
            # Too late for its status: the client asks again, and is told.
            return
        async for part in self._send_new():
            yield part

    async def _send_missed(self) -> AsyncIterator[bytes]:
        while not self._feed.can_join(after=self._sent) and not self._feed.is_ending:
            known = self._feed.position
            events = await self._feed.read_page(after=self._sent, most=BATCH)
            if events:
                # What comes after these is at most as old as the last of them.
                yield self._render(events) + self._heartbeat(max(events[-1].age, self._feed.behind))
            if len(events) < BATCH:
                # Not all places have events: some may have been deleted.
                self._sent = max(self._sent, known)

    async def _send_new(self) -> AsyncIterator[bytes]:
        with self._feed.join(after=self._sent) as subscription:
            while not subscription.is_cut:
                events = await subscription.take(seconds=max(self._due_at - monotonic(), 0.0))
                if subscription.is_cut:
                    return
                lines = self._render(events)
                if monotonic() >= self._due_at:
                    lines += self._heartbeat(self._feed.behind)
                if lines:
                    yield lines

    def _render(self, events: Iterable[PlacedEvent]) -> bytes:
        lines = []
        for event in events:
            lines.append(to_json(describe(event, lifetime=self._lifetime)) + b"\n")
            self._sent = event.seq
        return b"".join(lines)

    def _heartbeat(self, behind: float) -> bytes:
        self._due_at = monotonic() + HEARTBEAT_SECONDS
        beat = {"heartbeat": True, "seq": self._sent, "behind": round(behind, 3), "at": round(monotonic(), 3)}
        return to_json(beat) + b"\n"


def describe(event: PlacedEvent, *, lifetime: float) -> dict[str, Any]:
    """The event as other parts read it."""
    members = event._asdict()
    del members["age"]
    return members | {"seconds": seconds_left(event, lifetime=lifetime)}
