"""Jobs in the memory of one process, with the rules that the database keeps elsewhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count

from kpi_kit.queue.envelopes import Envelope
from kpi_kit.queue.outcomes import FailedJob, Pushed, QueueStatus


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    FAILED = "failed"


@dataclass
class Entry:
    """One job. ``at`` is the time from which it may start, or at which it failed."""

    id: int
    envelope: Envelope
    at: datetime
    state: State = State.WAITING
    attempts: int = 0
    error: str = ""


class Board:
    """All jobs that have not succeeded."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._ids = count(1)

    def add(self, envelopes: Sequence[Envelope]) -> list[Pushed]:
        return [self._add(envelope) for envelope in envelopes]

    def take(self, names: Sequence[str], queues: Sequence[str], *, due: datetime) -> Entry | None:
        """The next job with one of these names in these queues (in all, if there is none), now running.

        None if none may start yet.
        """
        ready = [entry for entry in self._list_waiting(names, queues) if entry.at <= due]
        if not ready:
            return None
        entry = min(ready, key=lambda each: (-each.envelope.priority, each.id))
        entry.state = State.RUNNING
        entry.attempts += 1
        return entry

    def find_next_time(self, names: Sequence[str], queues: Sequence[str]) -> datetime | None:
        """When the next of these jobs may start; None if none waits."""
        return min((entry.at for entry in self._list_waiting(names, queues)), default=None)

    def finish(self, entry: Entry) -> None:
        """End a job that has succeeded, and start the next one of its chain. A second call does nothing."""
        if self._entries.pop(entry.id, None) and (following := entry.envelope.find_next()):
            self._add(following)

    def fail(self, entry: Entry, error: str, pause: timedelta | None, *, priority: int) -> None:
        """Let a job wait for its next run, with this priority, or give it up if there is no pause."""
        entry.envelope = replace(entry.envelope, priority=priority)
        entry.state = State.FAILED if pause is None else State.WAITING
        entry.error = error
        entry.at = datetime.now(UTC) + (pause or timedelta(0))

    def give_back(self, entry: Entry) -> None:
        """Undo ``take``."""
        entry.state = State.WAITING
        entry.attempts -= 1

    def list_failed(self, limit: int) -> list[FailedJob]:
        newest = sorted(self._list(State.FAILED, ()), key=lambda entry: (entry.at, entry.id), reverse=True)
        return [_show_failed(entry) for entry in newest[:limit]]

    def retry_failed(self, ids: Sequence[int] | None) -> int:
        """Of several with one unique key the newest starts, if none with that key waits or runs."""
        entries = [entry for entry in self._list(State.FAILED, ()) if ids is None or entry.id in ids]
        return sum(map(self._retry, reversed(entries)))

    def forget_failed(self, ids: Sequence[int]) -> int:
        failed = [entry.id for entry in self._list(State.FAILED, ()) if entry.id in ids]
        for each in failed:
            del self._entries[each]
        return len(failed)

    def _retry(self, entry: Entry) -> bool:
        is_free = self._find_same(entry.envelope) is None
        if is_free:
            entry.state, entry.attempts, entry.at = State.WAITING, 0, datetime.now(UTC)
        return is_free

    def count(self) -> list[QueueStatus]:
        names = sorted({entry.envelope.queue for entry in self._entries.values()})
        return [self._count(name, datetime.now(UTC)) for name in names]

    def _add(self, envelope: Envelope) -> Pushed:
        if same := self._find_same(envelope):
            return Pushed(same.id, is_new=False)
        entry = Entry(next(self._ids), envelope, envelope.at or datetime.now(UTC))
        self._entries[entry.id] = entry
        return Pushed(entry.id)

    def _find_same(self, envelope: Envelope) -> Entry | None:
        if envelope.unique is None:
            return None
        key = (envelope.name, envelope.unique)
        active = (entry for entry in self._entries.values() if entry.state is not State.FAILED)
        return next((entry for entry in active if (entry.envelope.name, entry.envelope.unique) == key), None)

    def _list_waiting(self, names: Sequence[str], queues: Sequence[str]) -> Iterator[Entry]:
        return (entry for entry in self._list(State.WAITING, queues) if entry.envelope.name in names)

    def _list(self, state: State, queues: Sequence[str]) -> Iterator[Entry]:
        return (
            entry
            for entry in self._entries.values()
            if entry.state is state and (not queues or entry.envelope.queue in queues)
        )

    def _count(self, queue: str, now: datetime) -> QueueStatus:
        waiting = list(self._list(State.WAITING, (queue,)))
        ready = [entry.at for entry in waiting if entry.at <= now]
        return QueueStatus(
            queue,
            len(ready),
            len(waiting) - len(ready),
            len(list(self._list(State.RUNNING, (queue,)))),
            len(list(self._list(State.FAILED, (queue,)))),
            (now - min(ready, default=now)).total_seconds(),
        )


def _show_failed(entry: Entry) -> FailedJob:
    envelope = entry.envelope
    stopped = tuple(each.name for each in envelope.then)
    return FailedJob(entry.id, envelope.name, envelope.queue, entry.attempts, entry.error, entry.at, stopped)
