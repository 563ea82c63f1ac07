"""What no queue takes, with any driver and the fake: names, times, limits and values that are not valid."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from kpi_kit.queue import (
    InvalidJobError,
    JobNameError,
    LimitError,
    PayloadSizeError,
    Queue,
    ScheduleError,
    WorkerSettingsError,
)
from kpi_kit.queue.envelopes import LONGEST
from queue_support import Aliased, Flaky, Note, Recorder, until_idle


async def test_later_needs_one_time_with_its_zone(queue: Queue) -> None:
    for times in ({}, {"at": datetime.now(UTC), "delay": timedelta(1)}, {"at": datetime.now(UTC).replace(tzinfo=None)}):
        with pytest.raises(ScheduleError, match="later"):
            await queue.later(Note(text="x"), **times)  # type: ignore[arg-type]


async def test_a_name_has_one_handler_and_one_period(queue: Queue) -> None:
    queue.handle(Note, Recorder())
    queue.cron("0 3 * * *", Note(text="x"))
    with pytest.raises(JobNameError):
        queue.handle(Note, Recorder())
    with pytest.raises(JobNameError):
        queue.cron("0 4 * * *", Note(text="x"))
    with pytest.raises(ScheduleError, match="cron"):
        queue.cron("61 * * * *", Flaky(text="x"))


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 41, "a#b"])
async def test_a_queue_has_a_plain_name(queue: Queue, name: str) -> None:
    with pytest.raises(JobNameError) as raised:
        queue.on(name)
    assert isinstance(raised.value, ValueError)


async def test_a_limit_is_a_number_of_jobs(queue: Queue) -> None:
    for limit in (-1, 2**63):
        with pytest.raises(LimitError):
            await queue.failed(limit=limit)
    assert await queue.failed(limit=0) == await queue.failed(limit=2**63 - 1) == []


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"grace": timedelta(seconds=-1)}])
async def test_a_worker_has_room_for_a_job(queue: Queue, wrong: dict[str, Any]) -> None:
    with pytest.raises(WorkerSettingsError):
        async with queue.work(**wrong):
            pass


async def test_the_longest_name_of_a_queue_works(queue: Queue) -> None:
    handler = Recorder()
    queue.handle(Note, handler)
    async with queue.work("q" * 40):
        await queue.on("q" * 40).push(Note(text="a"))
        await until_idle(queue)
    assert handler.texts == ["a"]


async def test_what_cannot_be_stored_is_refused(queue: Queue) -> None:
    for text in ("a\0b", "\ud800"):
        with pytest.raises(InvalidJobError, match="Note"):
            await queue.push(Note(text=text))
        with pytest.raises(InvalidJobError, match="key"):
            await queue.push(Note(text="a"), unique=text)
    with pytest.raises(InvalidJobError, match="key"):
        await queue.push(Note(text="a"), unique="k" * 501)
    for moment in ({"delay": timedelta.max}, {"at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))}):
        with pytest.raises(ScheduleError, match="year"):
            await queue.later(Note(text="a"), **moment)  # type: ignore[arg-type]
    with pytest.raises(PayloadSizeError, match="Note"):
        await queue.push(Note(text="a" * LONGEST))
    for number in (float("inf"), float("nan")):
        with pytest.raises(InvalidJobError, match="number"):
            await queue.push(Aliased(x=number))
    assert await queue.status() == []
    handler = Recorder()
    queue.handle(Aliased, handler)
    queue.handle(Note, handler)
    async with queue.work():
        await queue.push(Aliased(x=1.5), unique="\U0001f40c" * 500)
        # Each of these characters was escaped in Python, twice, which took a minute.
        await queue.push(Note(text='"\\' * 4_000_000))
        await until_idle(queue)
    assert (handler.texts[0], len(handler.texts[1])) == ("1.5", 8_000_000)
