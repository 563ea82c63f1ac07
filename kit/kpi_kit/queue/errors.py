"""The errors of the queue."""

from kpi_kit.errors import DriverUnavailableError, KitError, NotOpenError


class QueueError(KitError):
    """The base of the errors of the queue."""


class QueueUnavailableError(QueueError, DriverUnavailableError):
    """The server of the queue did not respond in time. The job has perhaps been taken: push it with a unique key."""

    def __init__(self) -> None:
        super().__init__("the queue's database did not respond, or ended the connection")


class KeyBusyError(QueueError, DriverUnavailableError):
    """Another transaction has pushed a job with this key, and is still open after 5 s. This one can go on."""

    def __init__(self) -> None:
        super().__init__("a transaction that has pushed a job with this key is still open: push it again later")


class InvalidJobError(QueueError, ValueError):
    """A job or its unique key cannot be stored as it is, or a chain has no jobs."""


class ScheduleError(QueueError, ValueError):
    """The start time of a job or a cron expression is not valid."""


class RetryError(QueueError, ValueError):
    """``attempts`` is below 1, or a pause or ``factor`` is negative."""


class LimitError(QueueError, ValueError):
    """A limit is negative, or does not fit into 63 bits."""


class WorkerSettingsError(QueueError, ValueError):
    """``concurrency`` is below 1, or ``grace`` is negative."""


class PayloadSizeError(QueueError, ValueError):
    """The job is larger than a queue takes. Store the data elsewhere, and its place in the job."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(
            f"{name} has more than the {limit:,} bytes of JSON that a job may have: store its data elsewhere"
        )


class QueueNotOpenError(QueueError, NotOpenError):
    """The queue is used outside its ``async with`` block."""

    def __init__(self) -> None:
        super().__init__("queue")


class QueueSchemaError(QueueError):
    """The database has no tables of the queue."""

    def __init__(self) -> None:
        super().__init__(
            "the database has no schema kpi_queue: a migration has to run kpi_kit.queue.schema.upgrade_sql()"
        )


class JobNameError(QueueError, ValueError):
    """Two types of jobs have the same name, or the name has a form that is not allowed."""


class PayloadError(QueueError):
    """What was stored does not fit the fields of the job's type."""

    def __init__(self, name: str, fields: str) -> None:
        super().__init__(f"the stored job does not fit the fields of {name}: {fields}")


class WorkerLostError(QueueError):
    """The worker that ran the job ended without a word, for example killed for its use of memory."""

    def __init__(self) -> None:
        super().__init__("the worker that ran the job ended in the middle of it")


class TakenOverError(QueueError):
    """The run is no longer the one that counts: its worker was taken for lost, and another runs the job."""

    def __init__(self) -> None:
        super().__init__("another worker has taken the job over: what this run has done must not be committed")


class HandlerCancelledError(QueueError):
    """A handler ended with a cancellation for which the worker had not asked."""

    def __init__(self) -> None:
        super().__init__("the handler was cancelled from inside")
