"""The handlers of a process by the names of their jobs, and the periodic jobs."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from kpi_kit.errors import KitError
from kpi_kit.extras import import_driver
from kpi_kit.observing import Observer, observe
from kpi_kit.payloads import read_json
from kpi_kit.queue.envelopes import Envelope, JobType, wrap
from kpi_kit.queue.errors import HandlerCancelledError, JobNameError, PayloadError, ScheduleError
from kpi_kit.queue.jobs import Job, JobOptions, Run

Handler = Callable[[JobType, Run], Awaitable[None]]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Period:
    """A job that is pushed once in each period of a cron expression (UTC), over all processes."""

    expression: str
    envelope: Envelope


@dataclass
class Handlers:
    """Filled at the start of a process, before its first worker starts."""

    driver: str
    observer: Observer | None = None
    periods: list[Period] = field(default_factory=list)
    _by_name: dict[str, tuple[type[Job], Handler[Any]]] = field(default_factory=dict)

    def add(self, job_type: type[JobType], handler: Handler[JobType]) -> None:
        """JobNameError if the name has a handler."""
        name = job_type.job_options.name
        if name in self._by_name:
            raise JobNameError(f"jobs named {name} have a handler")
        self._by_name[name] = (job_type, handler)

    def add_period(self, expression: str, job: Job) -> None:
        """JobNameError if this type of job has a period: its name tells the periods apart in the database."""
        if not import_driver("kpi_kit.queue.periods", extra="queue").is_valid(expression):
            raise ScheduleError(f"{expression!r} is not a cron expression of five fields (or six, the seconds last)")
        envelope = wrap(job, queue=None)
        if any(period.envelope.name == envelope.name for period in self.periods):
            raise JobNameError(f"jobs named {envelope.name} have a period")
        self.periods.append(Period(expression, envelope))

    def list_names(self) -> list[str]:
        """The jobs that this process can run."""
        return sorted(self._by_name)

    def list_type_groups(self) -> list[list[str]]:
        """The jobs that this process can run, in groups that take no places from each other; none is empty."""
        own = [name for name in self.list_names() if self.find_options(name).own_places]
        shared = [name for name in self.list_names() if name not in own]
        return [group for group in (shared, *([name] for name in own)) if group]

    def find_options(self, name: str) -> JobOptions:
        """How jobs of this name are run, which has a handler."""
        return self._by_name[name][0].job_options

    def find_pause(self, name: str, run: Run, error: BaseException) -> timedelta | None:
        """The pause before the next run; None if the job is to be given up. Logs which."""
        pause = self.find_options(name).retry.find_pause(run.attempt, error)
        _hide_causes(error)
        outcome = f"next attempt in {pause.total_seconds():.1f} s" if pause is not None else "given up"
        _logger.warning(
            "Job %s %d failed in attempt %d with %s: %s",
            name,
            run.id,
            run.attempt,
            name_error(error),
            outcome,
            # A worker that was lost has left none.
            exc_info=error if error.__traceback__ else None,
        )
        return pause

    async def run(self, name: str, payload: dict[str, Any], run: Run) -> None:
        """Raises what the handler raises, or PayloadError. The name has a handler."""
        with observe(self.observer, "queue", "run", self.driver):
            job_type, handler = self._by_name[name]
            timeout = job_type.job_options.timeout
            async with asyncio.timeout(timeout.total_seconds() if timeout else None):
                await _call(handler, read_job(job_type, payload), run)


async def _call(handler: Handler[JobType], job: JobType, run: Run) -> None:
    """HandlerCancelledError for a cancellation that comes from inside: it would look like the worker's end."""
    try:
        await handler(job, run)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            raise HandlerCancelledError from None
        raise


def _hide_causes(error: BaseException) -> None:
    """An error of the kit has no secret in its text, but the error of a library behind it may quote what was sent."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, KitError):
            chain.__cause__ = None
            chain.__suppress_context__ = True
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)


def read_job(job_type: type[JobType], payload: dict[str, Any]) -> JobType:
    """PayloadError with the names of the fields that do not fit, and none of their values."""
    try:
        return read_json(job_type, json.dumps(payload, ensure_ascii=False))
    except ValidationError as error:
        fields = ", ".join(".".join(str(part) for part in each["loc"]) for each in error.errors(include_input=False))
        raise PayloadError(job_type.job_options.name, fields) from None


def name_error(error: BaseException) -> str:
    """The full name of its type: "builtins.TimeoutError" is "TimeoutError"."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
