"""Jobs in a schema of the service's database, kept and fetched by procrastinate."""

from kpi_kit.queue.drivers.memory import MemoryQueue
from kpi_kit.urls import Url


def build(_url: Url) -> MemoryQueue:
    """Not finished: jobs are kept in memory."""
    return MemoryQueue()
