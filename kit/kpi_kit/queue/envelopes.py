"""What is stored of a job: its payload, and all that a process needs to know of it without its class."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kpi_kit.queue.jobs import Job


@dataclass(frozen=True)
class Envelope:
    """One job on its way to a worker."""

    name: str
    queue: str
    priority: int
    payload: dict[str, Any] = field(repr=False)
    # A second job of this name with the same key is not taken while this one waits or runs.
    unique: str | None = None
    # Not before this time.
    at: datetime | None = None
    # The rest of a chain: these start one after another when this one has succeeded.
    then: tuple["Envelope", ...] = ()

    def find_next(self) -> "Envelope | None":
        """The next job of the chain, with the rest of it."""
        return replace(self.then[0], then=self.then[1:]) if self.then else None


def wrap(job: Job, *, queue: str | None, unique: str | None = None, at: datetime | None = None) -> Envelope:
    """The envelope of a job; ``queue`` in place of the one that the type of the job names."""
    options = job.job_options
    payload = job.model_dump(mode="json")
    return Envelope(options.name, queue or options.on, options.priority, payload, unique, at)


def wrap_chain(jobs: Sequence[Job], *, queue: str | None) -> Envelope:
    """The envelope of the first job, with all others in it."""
    first, *others = (wrap(job, queue=queue) for job in jobs)
    return replace(first, then=tuple(others))
