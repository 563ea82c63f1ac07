"""Jobs that run later, in another process, and are not lost."""

from kpi_kit.queue.errors import (
    JobNameError,
    NoTransactionError,
    PayloadError,
    QueueError,
    QueueNotOpenError,
    QueueSchemaError,
    QueueUnavailableError,
    UnknownJobError,
    WorkerLostError,
)
from kpi_kit.queue.fake import PushedJob, QueueFake
from kpi_kit.queue.jobs import Job, Retry, Run
from kpi_kit.queue.outcomes import FailedJob, Pushed, QueueStatus
from kpi_kit.queue.queue import Pusher, Queue

__all__ = [
    "FailedJob",
    "Job",
    "JobNameError",
    "NoTransactionError",
    "PayloadError",
    "Pushed",
    "PushedJob",
    "Pusher",
    "Queue",
    "QueueError",
    "QueueFake",
    "QueueNotOpenError",
    "QueueSchemaError",
    "QueueStatus",
    "QueueUnavailableError",
    "Retry",
    "Run",
    "UnknownJobError",
    "WorkerLostError",
]
