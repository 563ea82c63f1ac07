"""What auth revokes is refused by every content, also when an auth is killed or stands still."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from math import isfinite

from kpi_drill.platform import Platform
from kpi_drill.revoker import Revoker
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict, milliseconds, percentile

_ROUNDS = 500
_ROUNDS_WITH_A_FAULT = 180
_SHORT_ROUNDS = 9
_FROZEN_SECONDS = 5.0
_SHORT_SECONDS = 2.0
# Both contents begin with the first; when it fails they follow the second.
_AUTHS = ("auth1", "auth2")
_Fault = Callable[[Platform, str, bool], Awaitable[None]]


async def revoke(stage: Stage) -> Verdict:
    """Log-outs, demotions and deactivations in turn, of four people at once."""
    return await _measure(stage, _ROUNDS, None)


async def kill_auth(stage: Stage) -> Verdict:
    """The same, while each auth is killed once and started again."""
    return await _measure(stage, _ROUNDS_WITH_A_FAULT, _kill)


async def freeze_auth(stage: Stage) -> Verdict:
    """The same, while each auth stands still once."""
    return await _measure(stage, _ROUNDS_WITH_A_FAULT, _freeze)


async def _kill(platform: Platform, name: str, _is_short: bool) -> None:
    await platform[name].kill()
    await asyncio.sleep(1)
    await platform[name].start()
    await platform[name].wait_until_ready()


async def _freeze(platform: Platform, name: str, is_short: bool) -> None:
    platform[name].send(signal.SIGSTOP)
    await asyncio.sleep(_SHORT_SECONDS if is_short else _FROZEN_SECONDS)
    platform[name].send(signal.SIGCONT)


async def _measure(stage: Stage, count: int, fault: _Fault | None) -> Verdict:
    count = _SHORT_ROUNDS if stage.short else count
    async with stage.platform() as platform:
        async with stage.load(platform) as load:
            await load.settle()
            revoker = Revoker(platform, seed=stage.seed)
            try:
                await revoker.run(count, _cause(fault, stage, revoker, count) if fault is not None else None)
            finally:
                await revoker.close()
        losses = await stage.check(load, platform)
    verdict = judge_delays(stage, revoker)
    return Verdict(f"{verdict.figure}; {losses}", verdict.kept and losses.total == 0)


async def _cause(fault: _Fault, stage: Stage, revoker: Revoker, count: int) -> None:
    """The fault to each auth in turn, with rounds before, between and after."""
    for number, name in enumerate(_AUTHS, start=1):
        await revoker.wait_for_round(number * count // (len(_AUTHS) + 1))
        await fault(revoker.platform, name, stage.short)


def judge_delays(stage: Stage, revoker: Revoker) -> Verdict:
    delays = revoker.find_delays()
    median, late, longest = (percentile(delays, share) for share in (0.5, 0.99, 1.0))
    in_time = isfinite(longest) and (stage.short or (late <= 1 and longest <= 5))
    figure = f"p50 {milliseconds(median)}, p99 {milliseconds(late)}, max {milliseconds(longest)}"
    figure += f" in {len(delays)} rounds"
    if revoker.refused_early:
        figure += f", {revoker.refused_early} new tokens refused"
    return Verdict(figure, in_time and not revoker.refused_early)
