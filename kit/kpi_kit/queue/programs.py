"""A worker as a program of its own."""

import asyncio
import signal
from datetime import timedelta

from kpi_kit.queue.queue import Queue


async def run_worker(
    queue: Queue, *queues: str, concurrency: int = 10, grace: timedelta = timedelta(seconds=30)
) -> None:
    """Run jobs until SIGTERM or SIGINT, then as at the end of ``Queue.work``. The queue is open."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        async with queue.work(*queues, concurrency=concurrency, grace=grace):
            await stopping.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
