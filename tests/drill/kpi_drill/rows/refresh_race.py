"""64 refreshes at once race a revocation."""

from kpi_drill.racer import Racer
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict

_ROUNDS = 1000
_SHORT_ROUNDS = 6


async def race(stage: Stage) -> Verdict:
    """Log-outs, log-outs everywhere and deactivations in turn; nothing that was minted may work after that."""
    async with stage.platform() as platform:
        async with stage.load(platform, rate=10) as load:
            racer = Racer(platform, seed=stage.seed)
            try:
                await racer.run(_SHORT_ROUNDS if stage.short else _ROUNDS)
                unhit = racer.count_unhit()
            finally:
                await racer.close()
        losses = await stage.check(load, platform)
    figure = (
        f"{racer.minted_late} minted after it returned, {racer.accepted + unhit} of {racer.minted} still accepted "
        f"in {racer.rounds} rounds ({racer.close_rounds} with some in time and some too late); {losses}"
    )
    kept = not (racer.minted_late or racer.accepted or unhit) and racer.close_rounds > 0
    return Verdict(figure, kept and losses.total == 0)
