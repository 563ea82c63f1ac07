"""A queue for tests: it keeps the rules of the real one, records what is pushed, and runs jobs when a test asks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from kpi_kit.queue.drivers.memory import MemoryQueue
from kpi_kit.queue.envelopes import Envelope, JobType, to_payload
from kpi_kit.queue.handlers import read_job
from kpi_kit.queue.jobs import Job
from kpi_kit.queue.outcomes import FailedJob, Pushed
from kpi_kit.queue.queue import Queue

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class PushedJob:
    """One job that was pushed. ``connection`` is the one in whose transaction it was to be written."""

    name: str
    queue: str
    payload: dict[str, Any] = field(repr=False)
    unique: str | None
    at: datetime | None
    connection: object | None
    # The names of the rest of its chain.
    then: tuple[str, ...]
    is_new: bool


class _FakeDriver(MemoryQueue):
    name = "fake"

    def __init__(self) -> None:
        super().__init__()
        self.pushed: list[PushedJob] = []

    async def push(self, envelopes: Sequence[Envelope], connection: object | None) -> list[Pushed]:
        results = await super().push(envelopes, None)
        self.pushed += [_record(*pair, connection) for pair in zip(envelopes, results, strict=True)]
        return results


class QueueFake(Queue):
    """In place of a ``Queue``, in ``async with``. Any connection is accepted, and the job is pushed at once."""

    def __init__(self) -> None:
        self._fake = _FakeDriver()
        super().__init__(self._fake, self._fake.name)

    @classmethod
    def from_url(cls, *_: object, **_others: object) -> Self:
        """A fake, whatever the URL, so that a test can put this class in the place of the real one."""
        return cls()

    @property
    def pushed(self) -> list[PushedJob]:
        """All jobs that were pushed, in their order."""
        return list(self._fake.pushed)

    def list_pushed(self, job_type: type[JobType]) -> list[JobType]:
        """The pushed jobs of this type, in their order."""
        name = job_type.job_options.name
        return [read_job(job_type, each.payload) for each in self._fake.pushed if each.name == name]

    def assert_pushed(self, job: Job, *, on: str | None = None) -> PushedJob:
        """A job with the same fields was pushed, to this queue if one is named."""
        name, payload = job.job_options.name, to_payload(job)
        for each in self._fake.pushed:
            if (each.name, each.payload) == (name, payload) and on in (None, each.queue):
                return each
        pushed = ", ".join(f"{each.name} on {each.queue}" for each in self._fake.pushed) or "nothing"
        raise AssertionError(f"no such {name} was pushed{f' on {on}' if on else ''}; pushed were: {pushed}")

    def assert_not_pushed(self, job_type: type[Job]) -> None:
        """No job of this type was pushed."""
        found = len(self.list_pushed(job_type))
        if found:
            raise AssertionError(f"{found} jobs named {job_type.job_options.name} were pushed")

    async def run_pushed(self, *, scheduled: bool = False) -> None:
        """Run all jobs that wait, one after another, also those that they push.

        With ``scheduled`` also those that wait for their time, so that all attempts are made at once. Errors end as in
        the real queue: ``assert_none_failed`` shows them.
        """
        while await self._fake.run_next((), due=_END_OF_TIME if scheduled else datetime.now(UTC)):
            pass

    async def assert_none_failed(self) -> None:
        """No job was given up."""
        failed: list[FailedJob] = await self.failed()
        if failed:
            shown = ", ".join(f"{each.name} with {each.error}" for each in failed)
            raise AssertionError(f"jobs were given up: {shown}")


def _record(envelope: Envelope, result: Pushed, connection: object | None) -> PushedJob:
    then = tuple(each.name for each in envelope.then)
    return PushedJob(
        envelope.name, envelope.queue, envelope.payload, envelope.unique, envelope.at, connection, then, result.is_new
    )
