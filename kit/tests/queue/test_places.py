"""How the jobs of one worker share its places: those of a type with places of its own hold up no others."""

import pytest
from kpi_kit.queue import Job, Queue, Retry
from queue_support import AT_ONCE, Note, Recorder, until, until_idle


class Guest(Job, own_places=True):
    text: str


class Modest(Job, retry=Retry(attempts=3, first=AT_ONCE, waits_behind=True)):
    text: str


@pytest.fixture(params=["postgresql", "memory"])
def driver(request: pytest.FixtureRequest) -> str:
    """The fake and sync have no places."""
    name: str = request.param
    return name


async def test_each_waits_only_for_its_own_kind(queue: Queue) -> None:
    guests, notes = Recorder(), Recorder()
    queue.handle(Guest, guests)
    queue.handle(Note, notes)
    guests.gate.clear()
    await queue.push_all([Guest(text=str(number)) for number in range(5)])
    async with queue.work(concurrency=2):
        await queue.push_all([Note(text=str(number)) for number in range(5)])
        await until(lambda: len(notes.texts) == 5)
        assert guests.texts == ["0", "1"]
        notes.gate.clear()
        await queue.push_all([Note(text="held") for _ in range(5)])
        await until(lambda: len(notes.texts) == 7)
        guests.gate.set()
        await until(lambda: len(guests.texts) == 5)
        assert len(notes.texts) == 7
        notes.gate.set()
        await until_idle(queue)
    assert len(notes.texts) == 10


async def test_a_place_that_becomes_free_is_taken_at_once(database: str) -> None:
    """Also while the worker, which has other places, would not ask again for an hour."""
    guests = Recorder()
    async with Queue.from_url(f"{database}{'&' if '?' in database else '?'}poll=3600") as queue:
        queue.handle(Guest, guests)
        queue.handle(Note, Recorder())
        await queue.push_all([Guest(text=str(number)) for number in range(20)])
        async with queue.work(concurrency=1):
            await until_idle(queue)
    assert len(guests.texts) == 20


async def test_a_job_that_failed_may_wait_behind_those_that_did_not(queue: Queue) -> None:
    notes = Recorder(failures=1)
    queue.handle(Modest, notes)
    queue.handle(Note, notes)
    notes.gate.clear()
    await queue.push(Modest(text="failed"))
    async with queue.work(concurrency=1):
        await until(lambda: notes.texts == ["failed"])
        # Its number is lower than theirs, so it would come before the last of them.
        await queue.push_all([Note(text=str(number)) for number in range(20)])
        notes.gate.set()
        await until_idle(queue)
    assert notes.texts == ["failed", *map(str, range(20)), "failed"]
