"""What is stored of a job: its payload, and all that a process needs to know of it without its class."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from kpi_kit.payloads import find_lost, write_json
from kpi_kit.queue.errors import InvalidJobError, PayloadSizeError
from kpi_kit.queue.jobs import Job

JobType = TypeVar("JobType", bound=Job)

# Of the JSON of one job, in bytes: the event loop reads and writes as much in about a second.
LONGEST = 32 * 1024**2
# In characters, for each of which an index of the database may need four bytes of its 2,704.
_LONGEST_KEY = 500
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
    return Envelope(options.name, queue or options.on, options.priority, to_payload(job), _check_key(unique), at)


def _check_key(key: str | None) -> str | None:
    if key is not None and (len(key) > _LONGEST_KEY or re.search("[\0\ud800-\udfff]", key)):
        raise InvalidJobError(
            f"a unique key must have at most {_LONGEST_KEY} characters, no NUL and no half of a surrogate pair"
        )
    return key


def to_payload(job: Job) -> dict[str, Any]:
    """The fields by their names, as they are read again; InvalidJobError for what does not come back as it was."""
    name = job.job_options.name
    text = write_json(job)
    if text is None or ("\\u0000" in text and _NUL.search(text)):
        raise InvalidJobError(f"{name} has a text with NUL or half a surrogate pair, or a value that JSON cannot have")
    if len(text.encode()) > LONGEST:
        raise PayloadSizeError(name, LONGEST)
    if lost := find_lost(job, text):
        raise InvalidJobError(f"{name} does not come back from JSON with the same {', '.join(lost)}")
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
