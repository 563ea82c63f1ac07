"""How old what a stream says is, by the clock of this process, whose clock is compared with no other."""

from kpi_shared.feed.client import SILENCE_SECONDS
from kpi_shared.feed.errors import FeedError
from kpi_shared.feed.schemas import Heartbeat

# Heartbeats for so long make an address a good one: it is asked again at once after a failure.
_GOOD_SECONDS = 1.0
# The clocks of two machines do not run equally fast: in an hour, 2 s is the most that they may come to differ.
_LONGEST_SECONDS = 3600.0


class Hearing:
    """One stream. ``asked`` is the time before the request for its snapshot, ``opened`` that before its own.

    The first heartbeat was sent after ``opened``; each later one was sent so much later as its sender says, however
    long it was on its way.
    """

    def __init__(self, *, asked: float, opened: float) -> None:
        self._asked = asked
        self._opened = opened
        self._heard = opened
        self._now = opened
        self._has_heartbeat = False
        self._first_at: float | None = None
        # For how long the last heartbeat may have been on its way.
        self.delay = 0.0

    @property
    def is_good(self) -> bool:
        return self._now - self._opened > _GOOD_SECONDS

    @property
    def is_old(self) -> bool:
        return self._now - self._opened > _LONGEST_SECONDS

    def note_piece(self, now: float) -> None:
        """FeedError if it comes so late that it may have waited in this process's connection."""
        if now - self._heard > SILENCE_SECONDS:
            raise FeedError("it was silent for too long, or this process was suspended")
        self._now = now

    def note_heartbeat(self, heartbeat: Heartbeat) -> float:
        """The time up to which all that was committed is known."""
        if not self._has_heartbeat:
            self._has_heartbeat = True
            self._first_at = heartbeat.at
            # It may precede events that came after the snapshot.
            sent = self._asked
        else:
            sent = self._bound(heartbeat.at)
            self.delay = self._now - sent
        self._heard = self._now
        return sent - heartbeat.behind

    def _bound(self, at: float | None) -> float:
        """A time before which the heartbeat was not sent. Of an older auth, the time at which it came."""
        if at is None or self._first_at is None:
            return self._now
        return min(self._now, self._opened + at - self._first_at)
