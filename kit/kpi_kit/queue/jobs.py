"""A job: a model with the data that its handler needs, and how it is to be run."""

import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Secret, SecretBytes, SecretStr

from kpi_kit.queue.errors import JobNameError, RetryError

# PostgreSQL's channel of a queue has its name after 23 other characters, and may have 63.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")
_RANDOM = random.SystemRandom()


@dataclass(frozen=True)
class Retry:
    """When a job runs again after an error.

    ``attempts`` counts all runs, the first included. The pause before run n + 1 is ``first * factor ** (n - 1)``, at
    most ``longest``, less a random part of up to a half, so that jobs that failed together do not come back together.
    RetryError for what has no meaning.
    """

    attempts: int = 5
    first: timedelta = timedelta(seconds=2)
    factor: float = 3.0
    longest: timedelta = timedelta(hours=1)
    # Errors after which no further run can help.
    never_after: tuple[type[Exception], ...] = ()
    # After an error, the job starts behind those of its priority that have had none.
    waits_behind: bool = False

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.factor < 0 or min(self.first, self.longest) < timedelta(0):
            raise RetryError("attempts must be at least 1, and no pause and no factor may be negative")

    def find_pause(self, attempt: int, error: BaseException) -> timedelta | None:
        """The pause after run ``attempt`` (from 1) ended with ``error``; None if the job is to be given up."""
        if attempt >= self.attempts or isinstance(error, self.never_after):
            return None
        # The exponent is bounded, because a large power overflows a float.
        pause = min(self.first.total_seconds() * self.factor ** min(attempt - 1, 60), self.longest.total_seconds())
        return timedelta(seconds=pause * _RANDOM.uniform(0.5, 1.0))


@dataclass(frozen=True)
class JobOptions:
    """How jobs of one type are run. The queue's name and the priority can be set for each push."""

    name: str
    on: str = "default"
    # A job of a higher priority is started first.
    priority: int = 0
    retry: Retry = field(default_factory=Retry)
    # A run that takes longer is ended with TimeoutError, which is an error like any other. None: no limit.
    timeout: timedelta | None = timedelta(minutes=10)
    # In each worker, jobs of this type have as many places as all types without ones of their own have together. So
    # they never wait for jobs of other types, nor do those wait for them, however long they run.
    own_places: bool = False

    @property
    def priority_after_error(self) -> int:
        return self.priority - self.retry.waits_behind


class Job(BaseModel):
    """The base of all jobs. It is stored as JSON; ``class SendReport(Job, on="reports")`` sets how it is run.

    The name, which is that of the class unless it is given, is stored with each job: keep it when the class is renamed.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)
    job_options: ClassVar[JobOptions] = JobOptions("Job")

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        on: str = "default",
        priority: int = 0,
        retry: Retry | None = None,
        timeout: timedelta | None = JobOptions.timeout,
        own_places: bool = False,
    ) -> None:
        super().__init_subclass__()
        cls.job_options = JobOptions(
            check_name(name or cls.__name__), check_name(on), priority, retry or Retry(), timeout, own_places
        )

    @classmethod
    def __pydantic_init_subclass__(cls, **_options: object) -> None:
        """TypeError for a secret: it would be stored as asterisks, or for all to read who see the database."""
        for name, info in cls.model_fields.items():
            if _has_secret(info.annotation, {cls}):
                raise TypeError(f"{cls.__name__}.{name} is a secret: store its id, and let the handler look it up")


@dataclass(frozen=True)
class Run:
    """One run of a job, which its handler gets beside it."""

    # The same in all runs of one job: a key for what must not be done twice elsewhere.
    id: int
    # From 1.
    attempt: int
    # After an error in this run the job is given up.
    is_last: bool
    finish_in: Callable[[object], Awaitable[None]] = field(repr=False)

    async def finish(self, *, connection: object) -> None:
        """Mark the job as done in the transaction of ``connection``, with what the handler writes there.

        Both are committed or neither: this is how the effects of a job come into the database exactly once, even if
        its worker is killed. The handler commits, and returns. Of two runs that overlap, the second one's ``finish``
        raises, so that its transaction is rolled back.
        """
        await self.finish_in(connection)


def _has_secret(annotation: Any, seen: set[Any]) -> bool:  # noqa: ANN401 an annotation can be any object
    """Also in the parts of a generic type, and in the models there; ``seen`` are those that were looked at."""
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, (Secret, SecretStr, SecretBytes)):
        return True
    inner = list(get_args(annotation))
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
        seen.add(kind)
        inner += [info.annotation for info in kind.model_fields.values()]
    return any(_has_secret(each, seen) for each in inner)


def check_name(name: str) -> str:
    """``name``; JobNameError unless it can be the name of a job or of a queue."""
    if not _NAME.fullmatch(name):
        raise JobNameError("a name of a job or queue has 1 to 40 letters, digits, '_', '.' or '-', first a letter")
    return name
