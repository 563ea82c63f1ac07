"""When housekeeping runs again."""

import asyncio

from kpi_shared.background import Schedule
from kpi_shared.housekeeping import MOST, MOST_STEPS, keeping_tidy

_NEVER = Schedule(interval=3600.0)


async def test_a_run_that_left_something_is_followed_by_another_at_once() -> None:
    full = {"mails": 0, "codes": MOST * MOST_STEPS}
    results = [full, full, {"mails": MOST * MOST_STEPS - 1}]
    runs = 0
    was_called_thrice = asyncio.Event()

    async def tidy() -> dict[str, int]:
        nonlocal runs
        runs += 1
        if runs == len(results):
            was_called_thrice.set()
        return results[runs - 1]

    async with keeping_tidy(tidy, _NEVER):
        await asyncio.wait_for(was_called_thrice.wait(), 20)
        for _ in range(20):
            await asyncio.sleep(0)
    assert runs == len(results)
