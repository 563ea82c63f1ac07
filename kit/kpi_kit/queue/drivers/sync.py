"""Jobs that run inside ``push``: for programs without a worker, and for tests that want no waiting."""

from collections.abc import Sequence
from datetime import UTC, datetime

from kpi_kit.queue.drivers.memory import MemoryQueue
from kpi_kit.queue.envelopes import Envelope
from kpi_kit.queue.outcomes import Pushed
from kpi_kit.urls import Url

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


class SyncQueue(MemoryQueue):
    """Delays and the pauses between attempts are skipped. A worker has nothing to do but what cron expressions push."""

    name = "sync"

    async def push(self, envelopes: Sequence[Envelope], connection: object | None) -> list[Pushed]:
        pushed = await super().push(envelopes, connection)
        await self._run_all()
        return pushed

    async def retry_failed(self, ids: Sequence[int] | None) -> int:
        number = await super().retry_failed(ids)
        await self._run_all()
        return number

    async def _run_all(self) -> None:
        while await self.run_next((), due=_END_OF_TIME):
            pass


def create_driver(_url: Url) -> SyncQueue:
    """A queue of its own for each call."""
    return SyncQueue()
