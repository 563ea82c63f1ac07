"""Workers that are killed while they work."""

from kpi_shared.testing.postgres import create_database
from queue_drill import Plan, drill


async def test_workers_are_killed_at_random_and_no_job_is_lost(worker: str) -> None:
    url = create_database(f"kit_queue_kills_{worker}")
    outcome = await drill(Plan(url, jobs=600, workers=3, kills=3, seed=1, lost_after=1))
    assert (outcome.jobs, outcome.kept) == (600, 300)
    assert (outcome.lost, outcome.once_lost, outcome.once_repeated) == (0, 0, 0)
    assert (outcome.failed, outcome.left) == (0, 0)
    # Otherwise nothing was shown: the killed workers were running jobs, which ran again.
    assert outcome.repeated + outcome.once_ran_again > 0
