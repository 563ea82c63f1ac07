"""One replica of two is there, and does not work."""

import asyncio
import signal
import time

from kpi_drill.platform import Platform
from kpi_drill.proxy import Proxy
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict, failed_share, percent, seconds

_LOST_SECONDS = 15.0
_FROZEN_SECONDS = 25.0
_SHORT_SECONDS = 5.0
_OBSERVED_SECONDS = 30.0


async def lose_database(stage: Stage) -> Verdict:
    """One of two contents has lost its database, and says so at once in answer to everything."""
    proxy = Proxy(stage.server.port)
    port = await proxy.start()
    try:
        async with stage.platform(
            database_ports=lambda name: (port if name == "content1" else stage.server.port,)
        ) as platform:
            async with stage.load(platform) as load:
                await load.settle()
                began = time.perf_counter()
                proxy.refuses = True
                proxy.cut()
                await asyncio.sleep(_SHORT_SECONDS if stage.short else _LOST_SECONDS)
                ended = time.perf_counter()
                proxy.refuses = False
                back = await _wait_for_traffic(platform, proxy)
            losses = await stage.check(load, platform)
    finally:
        await proxy.stop()
    meanwhile = load.since(began, ended)
    share, last = failed_share(meanwhile), max((one.ended - began for one in meanwhile if one.failed), default=0.0)
    figure = (
        f"{percent(share)} failed, the last after {seconds(last)}; {'back by itself' if back else 'not back'}; {losses}"
    )
    return Verdict(figure, ((share <= 0.01 and last <= 2) or stage.short) and back and losses.total == 0)


async def _wait_for_traffic(platform: Platform, proxy: Proxy) -> bool:
    """Whether the replica's database hears from it again as it does under load."""
    await platform["content1"].wait_until_ready()
    deadline = time.monotonic() + _OBSERVED_SECONDS
    before = proxy.pieces
    while time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        if proxy.pieces > before + 100:
            return True
    return False


async def freeze_auth(stage: Stage) -> Verdict:
    """One of two auths is frozen, and thaws when its clients have long repeated their requests elsewhere."""
    async with stage.platform() as platform:
        async with stage.load(platform) as load:
            await load.settle()
            began = time.perf_counter()
            platform["auth1"].send(signal.SIGSTOP)
            await load.refresh_all()
            await asyncio.sleep(_SHORT_SECONDS if stage.short else _FROZEN_SECONDS)
            platform["auth1"].send(signal.SIGCONT)
            await load.wait_until_healthy(_OBSERVED_SECONDS)
            await asyncio.sleep(2)
        losses = await stage.check(load, platform)
    slowest = max(one.reply.took for one in load.since(began))
    figure = f"{losses.sessions_ended} of {len(load.people)} sessions ended, answers within {seconds(slowest)}"
    figure += f", {percent(failed_share(load.since(began)))} failed, {losses}"
    return Verdict(figure, losses.total == 0)
