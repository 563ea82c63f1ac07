"""Auth's feed is cut off from both contents: they refuse writes in time, go on with reads, and come back alone."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from kpi_shared.testing.process import free_port

from kpi_drill.http import Client, Reply, Request, get, post
from kpi_drill.load import Load
from kpi_drill.platform import Platform
from kpi_drill.proxy import Proxy
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict, seconds

# Of silence, until writes are refused: REVOCATION_SILENCE_LIMIT.
_LIMIT_SECONDS, _SHORT_LIMIT_SECONDS = 10.0, 1.0
_BEYOND_SECONDS = 5.0
_PATIENCE_SECONDS = 30.0
_PROBE_SECONDS = 0.05
# Around the limit both answers are right: the last heartbeat was some tenths of a second old.
_NOISE_SECONDS = 1.0


class _Answer(NamedTuple):
    sent: float
    reply: Reply

    @property
    def is_refusal(self) -> bool:
        return self.reply.status == 503 and self.reply.has_retry_after


class _Probes:
    """One request again and again, to one content itself."""

    def __init__(self, port: int, request: Request) -> None:
        self._client = Client([port], timeout=5)
        self._request = request
        self.answers: list[_Answer] = []

    async def run(self) -> None:
        try:
            while True:
                sent = time.perf_counter()
                self.answers.append(_Answer(sent, await self._client.send(self._request)))
                await asyncio.sleep(_PROBE_SECONDS)
        finally:
            await self._client.close()

    def between(self, began: float, ended: float) -> Sequence[_Answer]:
        return [one for one in self.answers if began <= one.sent < ended]

    async def wait_for_status(self, *statuses: int) -> float:
        """Wait until the newest answer is such a one, and return when that was sent."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not self.answers or self.answers[-1].reply.status not in statuses:
                await asyncio.sleep(_PROBE_SECONDS / 5)
        return self.answers[-1].sent


async def cut_feed(stage: Stage) -> Verdict:
    """Packets are dropped, then connections refused, for some seconds longer than a content is content with."""
    verdicts = []
    async with _behind_proxies(stage) as (proxies, platform):
        async with stage.load(platform, rate=25) as load:
            for name, begin, end in (("DROP", _swallow, _flow_again), ("REJECT", _refuse, _accept_again)):
                await load.settle()
                verdicts.append(await _cut(stage, platform, load, name, lambda do: [do(each) for each in proxies], begin, end))
        losses = await stage.check(load, platform)
    kept = all(verdict.kept for verdict in verdicts) and losses.total == 0
    return Verdict(f"{'; '.join(verdict.figure for verdict in verdicts)}; {losses}", kept)
