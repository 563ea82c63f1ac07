"""What a driver does: it keeps the jobs, and runs them."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from kpi_kit.queue.envelopes import Envelope
from kpi_kit.queue.handlers import Handlers
from kpi_kit.queue.outcomes import FailedJob, Pushed, QueueStatus


@dataclass(frozen=True)
class WorkPlan:
    """Which queues a worker serves (all, if none is named), how many jobs at once, and how long it waits at its end.

    ``concurrency`` is the number of places of each group of types (``Handlers.list_type_groups``).
    """

    queues: tuple[str, ...]
    concurrency: int
    grace: timedelta


class QueueDriver(Protocol):
    """Errors that may pass are raised as QueueUnavailableError."""

    async def open(self, handlers: Handlers) -> None:
        """Connect. ``handlers`` may still grow until the first worker starts."""

    async def close(self) -> None:
        """End all connections. No worker runs any more."""

    async def push(self, envelopes: Sequence[Envelope], connection: object | None) -> list[Pushed]:
        """Keep the jobs, all or none; in the transaction of ``connection`` if there is one."""

    def work(self, plan: WorkPlan) -> AbstractAsyncContextManager[None]:
        """Run jobs in the background inside the block; at its end, those that still run are given back."""

    async def count(self) -> list[QueueStatus]:
        """One entry for each queue that has jobs, in the order of the names."""

    async def list_failed(self, limit: int) -> list[FailedJob]:
        """The jobs that were given up, the newest first."""

    async def retry_failed(self, ids: Sequence[int] | None) -> int:
        """Let given-up jobs start anew, with all their attempts: these, or all. How many there were."""

    async def forget_failed(self, ids: Sequence[int]) -> int:
        """Remove given-up jobs, and what their chains had left. How many there were."""
