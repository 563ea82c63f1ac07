"""The types of jobs, the pauses between attempts, the URLs, the fake's own methods, and cron over several processes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import procrastinate
import psycopg
import pytest
from kpi_kit.errors import UrlError
from kpi_kit.queue import InvalidJobError, Job, JobNameError, Queue, QueueFake, Retry, RetryError
from kpi_kit.queue.drivers.connecting import QueueConnector
from kpi_kit.queue.drivers.managing import WorkerManager
from kpi_kit.queue.handlers import Handlers
from kpi_kit.queue.worker_places import WorkerPlaces
from pydantic import BaseModel, Secret, SecretStr, create_model
from queue_support import Hopeless, Note, Recorder, open_queue, until


def test_pauses_grow_up_to_the_longest_and_are_spread() -> None:
    retry = Retry(attempts=100, first=timedelta(seconds=1), factor=2, longest=timedelta(seconds=8))
    for attempt, longest in ((1, 1), (2, 2), (4, 8), (99, 8)):
        pauses = {retry.find_pause(attempt, ValueError()) for _ in range(50)}
        seconds = [pause.total_seconds() for pause in pauses if pause is not None]
        assert longest / 2 <= min(seconds) < max(seconds) <= longest
    assert retry.find_pause(100, ValueError()) is None


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"factor": -1}, {"first": timedelta(-1)}, {"longest": timedelta(-1)}]
)
def test_a_job_has_an_attempt_and_pauses_after_it(wrong: dict[str, Any]) -> None:
    with pytest.raises(RetryError):
        Retry(**wrong)


def test_a_job_holds_no_secret() -> None:
    class Inner(BaseModel):
        password: SecretStr

    for annotation in (SecretStr | None, Secret[str], dict[str, list[Inner]]):
        with pytest.raises(TypeError, match=r"SignIn\.password is a secret"):
            create_model("SignIn", __base__=Job, password=(annotation, ...))


def test_names_are_plain() -> None:
    with pytest.raises(JobNameError):

        class Bad(Job, on="a b"):
            pass


async def test_the_fake_shows_what_was_pushed() -> None:
    async with QueueFake() as queue:
        handler = Recorder(failures=9)
        queue.handle(Hopeless, handler)
        await queue.later(Hopeless(text="a"), delay=timedelta(days=1), unique="k")
        await queue.on("emails").chain([Note(text="b"), Note(text="c")])
        assert [(each.name, each.queue, each.then) for each in queue.pushed] == [
            ("Hopeless", "default", ()),
            ("Note", "emails", ("Note",)),
        ]
        assert queue.list_pushed(Note) == [Note(text="b")]
        assert queue.assert_pushed(Note(text="b"), on="emails").is_new
        with pytest.raises(AssertionError, match="Hopeless on default, Note on emails"):
            queue.assert_pushed(Note(text="b"), on="default")
        with pytest.raises(AssertionError, match="1 jobs named Note"):
            queue.assert_not_pushed(Note)
        await queue.run_pushed()
        assert handler.texts == []
        await queue.run_pushed(scheduled=True)
        assert handler.texts == ["a"] * 5
        with pytest.raises(AssertionError, match="Hopeless with ConnectionError"):
            await queue.assert_none_failed()


@pytest.mark.parametrize(
    "url",
    [
        "redis://host/hidden",
        "memory://?hidden=1",
        "postgresql://user:hidden@host/database?pool_size=0",
        "postgresql://user:hidden@host/database?lost_after=never",
        "postgresql://user:hidden@host/database?prepared=hidden",
        "postgresql://user:hidden@host/database?poll=1&poll=2",
    ],
)
def test_a_bad_url_is_not_quoted(url: str) -> None:
    with pytest.raises(UrlError) as caught:
        Queue.from_url(SecretStr(url))
    assert "hid" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_value_that_would_be_lost_is_refused_at_the_push() -> None:
    class Free(Job):
        value: Any

    async with QueueFake() as queue:
        with pytest.raises(InvalidJobError, match="value") as caught:
            await queue.push(Free(value=SecretStr("hidden")))
    assert "hidden" not in str(caught.value)


async def test_a_period_is_pushed_in_its_order_and_not_when_it_has_passed(database: str) -> None:
    """Two workers come back after an outage: one of them has been late."""
    handlers = Handlers("postgresql")
    handlers.add_period("* * * * * *", Note(text="tick"))
    connector = QueueConnector(conninfo=database)
    await connector.open_async()
    try:
        manager = WorkerManager(connector, handlers, WorkerPlaces(handlers.list_type_groups(), each=1))
        task = procrastinate.jobs.Job(id=None, lock=None, queueing_lock=None, task_name="Note", queue="default")
        now = int(datetime.now(UTC).timestamp())
        ends = [await manager.defer_periodic_job(task, "", now + shift) for shift in (-60, 60, 60, 59, 61)]
    finally:
        await connector.close_async()
    assert [end is not None for end in ends] == [False, True, False, False, True]


async def test_cron_pushes_once_in_a_period_over_all_processes(database: str) -> None:
    """Each job fails at once, so that it is kept with the time of its period."""
    handler = Recorder(failures=1000, error=KeyError("x"))
    async with open_queue("postgresql", database) as one, open_queue("postgresql", database) as other:
        for queue in (one, other):
            queue.handle(Hopeless, handler)
            queue.cron("* * * * * *", Hopeless(text="tick"))
        async with one.work(), other.work():
            await until(lambda: len(handler.texts) >= 3)
    with psycopg.connect(database) as connection:
        query = "SELECT args ->> 'timestamp', count(*) FROM kpi_queue.procrastinate_jobs GROUP BY 1"
        counts = dict(connection.execute(query).fetchall())
    assert len(counts) >= 3
    assert set(counts.values()) == {1}
