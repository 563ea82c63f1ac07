"""The errors of the queue."""

from kpi_kit.errors import DriverUnavailableError, KitError


class QueueError(KitError):
    """The base of the errors of the queue."""


class QueueUnavailableError(QueueError, DriverUnavailableError):
    """The server of the queue did not respond in time. The job has perhaps been taken: push it with a unique key."""

    def __init__(self) -> None:
        super().__init__("the queue's database did not respond, or ended the connection")


class QueueNotOpenError(QueueError):
    """The queue is used outside its ``async with`` block."""

    def __init__(self) -> None:
        super().__init__("the queue is not open: use it inside `async with queue:`")


class QueueSchemaError(QueueError):
    """The database has no tables of the queue."""

    def __init__(self) -> None:
        super().__init__(
            "the database has no schema kpi_queue: a migration has to run kpi_kit.queue.schema.upgrade_sql()"
        )


class NoTransactionError(QueueError):
    """A job was to be pushed in the caller's transaction, and the driver cannot take part in it."""

    def __init__(self, driver: str) -> None:
        super().__init__(f"the {driver} queue cannot take part in a transaction: use a postgresql:// URL")


class JobNameError(QueueError):
    """Two types of jobs have the same name, or the name has a form that is not allowed."""


class UnknownJobError(QueueError):
    """A worker took a job for which its process has no handler, such as one of a newer version."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no handler for jobs named {name}: call queue.handle(...) before the worker starts")


class PayloadError(QueueError):
    """What was stored does not fit the fields of the job's type."""

    def __init__(self, name: str, fields: str) -> None:
        super().__init__(f"the stored job does not fit the fields of {name}: {fields}")


class WorkerLostError(QueueError):
    """The worker that ran the job ended without a word, for example killed for its use of memory."""

    def __init__(self) -> None:
        super().__init__("the worker that ran the job ended in the middle of it")
