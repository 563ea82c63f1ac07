"""What has always held and must go on holding: kills, and rolling restarts."""

import asyncio
import random

from kpi_drill.platform import REPLICAS
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict, failed_share, percent, seconds


async def kill_parts(stage: Stage) -> Verdict:
    """Kill every process in turn, and start it again."""
    order = list(REPLICAS) * (1 if stage.short else 2)
    random.Random(stage.seed).shuffle(order)
    async with stage.platform() as platform:
        async with stage.load(platform) as load:
            for name in order:
                await asyncio.sleep(0.3)
                await platform[name].kill()
                await platform[name].start()
                await platform[name].wait_until_ready()
        losses = await stage.check(load, platform)
    share = failed_share(load.samples)
    figure = f"{losses} in {len(order)} kills ({percent(share)} of {len(load.samples)} requests failed)"
    return Verdict(figure, losses.total == 0)


async def kill_database(stage: Stage) -> Verdict:
    """Kill all processes of PostgreSQL at once, and start it again."""
    count = 1 if stage.short else 3
    async with stage.platform() as platform:
        async with stage.load(platform) as load:
            for _ in range(count):
                await asyncio.sleep(1)
                await asyncio.to_thread(stage.server.kill)
                await asyncio.to_thread(stage.server.start)
                await load.wait_until_healthy(30)
        losses = await stage.check(load, platform)
    figure = f"{losses} in {count} kills ({percent(failed_share(load.samples))} of {len(load.samples)} requests failed)"
    return Verdict(figure, losses.total == 0)


async def restart_in_turn(stage: Stage) -> Verdict:
    """Stop each process as an operator does, and start it again."""
    async with stage.platform() as platform:
        async with stage.load(platform) as load:
            await load.settle()
            for name in REPLICAS * (1 if stage.short else 2):
                await platform[name].stop()
                await platform[name].start()
                await platform[name].wait_until_ready()
                await asyncio.sleep(0.5)
        losses = await stage.check(load, platform)
    failed = [one for one in load.samples if (one.is_broken if stage.short else one.failed)]
    named = "".join(f" ({one.kind} {one.reply.status} after {seconds(one.reply.took)})" for one in failed[:3])
    figure = f"{len(failed)} of {len(load.samples)} failed{named}, {losses}"
    return Verdict(figure, not failed and losses.total == 0)
