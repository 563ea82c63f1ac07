"""Jobs that run later, in another process, and are not lost."""

from kpi_kit.queue.errors import (
    HandlerCancelledError,
    InvalidJobError,
    JobNameError,
    KeyBusyError,
    LimitError,
    PayloadError,
    PayloadSizeError,
    QueueError,
    QueueNotOpenError,
    QueueSchemaError,
    QueueUnavailableError,
    RetryError,
    ScheduleError,
    TakenOverError,
    WorkerLostError,
    WorkerSettingsError,
)
from kpi_kit.queue.fake import PushedJob, QueueFake
from kpi_kit.queue.jobs import Job, Retry, Run
from kpi_kit.queue.outcomes import FailedJob, Pushed, QueueStatus
from kpi_kit.queue.queue import Pusher, Queue
from kpi_kit.transactions import NoTransactionError

__all__ = [
    "FailedJob",
    "HandlerCancelledError",
    "InvalidJobError",
    "Job",
    "JobNameError",
    "KeyBusyError",
    "LimitError",
    "NoTransactionError",
    "PayloadError",
    "PayloadSizeError",
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
    "RetryError",
    "Run",
    "ScheduleError",
    "TakenOverError",
    "WorkerLostError",
    "WorkerSettingsError",
]
