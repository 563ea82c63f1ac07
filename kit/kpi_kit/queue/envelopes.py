"""What is stored of a job: its payload, and all that a process needs to know of it without its class."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kpi_kit.queue.jobs import Job

# The escape of NUL, after an even number of other backslashes.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


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
    return Envelope(options.name, queue or options.on, options.priority, _to_json(job), unique, at)


def _to_json(job: Job) -> dict[str, Any]:
    """The fields as they are read again; ValueError for what JSON in PostgreSQL cannot have."""
    try:
        text = job.model_dump_json()
    except ValueError:
        text = ""
    if not text or _NUL.search(text):
        raise ValueError(f"{job.job_options.name} has a text with NUL or half a surrogate pair, which cannot be stored")
    payload: dict[str, Any] = json.loads(text)
    return payload


def wrap_chain(jobs: Sequence[Job], *, queue: str | None) -> Envelope:
    """The envelope of the first job, with all others in it."""
    first, *others = (wrap(job, queue=queue) for job in jobs)
    return replace(first, then=tuple(others))


def to_arguments(envelope: Envelope) -> dict[str, Any]:
    """What is stored in the database beside the columns: the payload, and the rest of the chain."""
    then = [[each.name, each.queue, each.priority, each.payload] for each in envelope.then]
    return {"job": envelope.payload} | ({"then": then} if then else {})


def read_next(arguments: dict[str, Any]) -> Envelope | None:
    """The next job of the chain, from what ``to_arguments`` gave."""
    then = tuple(Envelope(*each) for each in arguments.get("then", ()))
    return replace(then[0], then=then[1:]) if then else None
