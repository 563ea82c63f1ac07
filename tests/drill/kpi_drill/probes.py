"""One request again and again to one process, and every answer with its time."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from kpi_drill.http import Client, Reply, Request

_PAUSE_SECONDS = 0.05
_PATIENCE_SECONDS = 30.0


class Answer(NamedTuple):
    """``sent`` is of time.perf_counter()."""

    sent: float
    reply: Reply

    @property
    def is_refusal(self) -> bool:
        return self.reply.status == 503 and self.reply.has_retry_after


class Probe:
    def __init__(self, port: int, request: Request) -> None:
        self._port = port
        self._request = request
        self.answers: list[Answer] = []

    async def run(self) -> None:
        client = Client([self._port], timeout=5)
        try:
            while True:
                sent = time.perf_counter()
                self.answers.append(Answer(sent, await client.send(self._request)))
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await client.close()

    def between(self, began: float, ended: float) -> Sequence[Answer]:
        """Those that were sent in this time."""
        return [one for one in self.answers if began <= one.sent < ended]

    async def wait_for(self, status: int) -> float:
        """Wait until the newest answer has this status, and return when that was sent."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not self.answers or self.answers[-1].reply.status != status:
                await asyncio.sleep(_PAUSE_SECONDS / 5)
        return self.answers[-1].sent


@asynccontextmanager
async def run_probes(probes: Sequence[Probe]) -> AsyncIterator[None]:
    """All of them ask during the block."""
    tasks = [asyncio.create_task(probe.run()) for probe in probes]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
