"""What the queue says about its jobs. None of it has a payload."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Pushed:
    """``is_new`` is false if a job with the same unique key waits or runs: then ``id`` is that one's."""

    id: int
    is_new: bool = True


@dataclass(frozen=True)
class FailedJob:
    """A job that was given up. It is kept until it is retried or removed."""

    id: int
    name: str
    queue: str
    # How often it was run.
    attempts: int
    # The type of the last error: "httpx.ReadTimeout". Its message may quote content, and is not kept.
    error: str
    failed_at: datetime
    # The names of the jobs of its chain that do not start because of it.
    stopped: tuple[str, ...] = ()


@dataclass(frozen=True)
class QueueStatus:
    """How many jobs of one queue wait for a worker, wait for a time (a delay, a retry), run, or have failed."""

    queue: str
    waiting: int = 0
    scheduled: int = 0
    running: int = 0
    failed: int = 0
    # The time since which the oldest waiting job could have been started, in seconds; 0 if none waits.
    oldest_seconds: float = 0.0
