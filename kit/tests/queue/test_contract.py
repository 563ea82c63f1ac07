"""What every driver and the fake keep. Those that need a second process or a server's death have files of their own."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
from kpi_kit.errors import KitError
from kpi_kit.queue import (
    HandlerCancelledError,
    Job,
    Queue,
    QueueNotOpenError,
    QueueStatus,
    Run,
)
from opening_support import open_anew
from queue_support import Flaky, Hopeless, Note, Recorder, Slow, Urgent, open_queue, until, until_idle


async def test_a_pushed_job_is_run_with_its_data(queue: Queue) -> None:
    handler = Recorder()
    queue.handle(Note, handler)
    async with queue.work():
        pushed = await queue.push(Note(text="ü\n'\"{}"))
        await until_idle(queue)
    assert pushed.is_new
    assert handler.texts == ["ü\n'\"{}"]
    assert [(run.id, run.attempt, run.is_last) for run in handler.runs] == [(pushed.id, 1, False)]
    assert await queue.status() == []


async def test_many_jobs_are_pushed_at_once(queue: Queue) -> None:
    handler = Recorder()
    queue.handle(Note, handler)
    pushed = await queue.push_all([Note(text=str(number)) for number in range(20)])
    async with queue.work(concurrency=3):
        await until_idle(queue)
    assert len({each.id for each in pushed}) == 20
    assert sorted(handler.texts, key=int) == [str(number) for number in range(20)]


async def test_a_job_waits_for_its_time(queue: Queue, driver: str) -> None:
    handler = Recorder()
    queue.handle(Note, handler)
    if driver == "sync":
        await queue.later(Note(text="tomorrow"), delay=timedelta(days=1))
        assert handler.texts == ["tomorrow"]
        return
    at = datetime.now(UTC) + timedelta(seconds=0.5)
    async with queue.work():
        await queue.later(Note(text="tomorrow"), delay=timedelta(days=1))
        await queue.later(Note(text="soon"), at=at)
        await until(lambda: handler.texts == ["soon"])
    assert datetime.now(UTC) >= at
    assert await queue.status() == [QueueStatus("default", scheduled=1)]


async def test_the_cause_of_an_error_of_the_kit_is_not_logged(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(job: Flaky, _run: Run) -> None:
        error = KitError("its own text")
        error.__cause__ = OSError(job.text)
        raise LookupError("another") from error

    queue.handle(Flaky, fail)
    async with queue.work():
        await queue.push(Flaky(text="payload-content"))
        await until_idle(queue)
    assert "its own text" in caplog.text
    assert "payload-content" not in caplog.text


async def test_a_chain_runs_in_order_and_goes_on_after_a_retry(queue: Queue) -> None:
    notes, flaky = Recorder(), Recorder(failures=3)
    queue.handle(Note, notes)
    queue.handle(Flaky, flaky)
    async with queue.work():
        await queue.chain([Note(text="1"), Flaky(text="2"), Note(text="3"), Note(text="4")])
        await until_idle(queue)
        assert (notes.texts, flaky.texts) == (["1"], ["2"] * 3)
        (failed,) = await queue.failed()
        assert (failed.name, failed.stopped) == ("Flaky", ("Note", "Note"))
        assert await queue.retry(failed.id) == 1
        await until_idle(queue)
    assert notes.texts == ["1", "3", "4"]


async def test_a_job_that_fails_is_run_again_and_kept_at_last(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    handler = Recorder(failures=4)
    queue.handle(Flaky, handler)
    async with queue.work():
        pushed = await queue.push(Flaky(text="payload-content"))
        await until_idle(queue)
        assert [(run.attempt, run.is_last) for run in handler.runs] == [(1, False), (2, False), (3, True)]
        (failed,) = await queue.failed()
        assert (failed.id, failed.name, failed.queue, failed.attempts) == (pushed.id, "Flaky", "default", 3)
        assert failed.error == "ConnectionError"
        assert abs(datetime.now(UTC) - failed.failed_at) < timedelta(minutes=1)
        assert await queue.status() == [QueueStatus("default", failed=1)]
        assert await queue.retry(failed.id + 1, 2**70) == 0
        assert await queue.forget(failed.id + 1, 2**70) == 0
        assert await queue.retry_all() == 1
        await until_idle(queue)
    assert [run.attempt for run in handler.runs] == [1, 2, 3, 1, 2]
    assert await queue.failed() == []
    assert "payload-content" not in caplog.text
    assert not any("payload-content" in str(vars(record)) for record in caplog.records)


async def test_some_errors_end_a_job_at_once(queue: Queue) -> None:
    handler = Recorder(failures=1, error=KeyError("x"))
    queue.handle(Hopeless, handler)
    async with queue.work():
        await queue.push(Hopeless(text="x"))
        await until_idle(queue)
        waiting = await queue.later(Note(text="x"), delay=timedelta(days=1))
    (failed,) = await queue.failed()
    assert failed.attempts == 1
    assert await queue.forget(failed.id, waiting.id) == 1
    assert await queue.failed() == []
    assert [each.scheduled for each in await queue.status()] == [1]


async def test_a_run_that_takes_too_long_is_an_error(queue: Queue) -> None:
    handler = Recorder()
    handler.gate.clear()
    queue.handle(Slow, handler)
    async with queue.work():
        await queue.push(Slow(text="x"))
        await until_idle(queue)
    assert [each.error for each in await queue.failed()] == ["TimeoutError"]


async def test_a_handler_that_cancels_itself_is_an_error(queue: Queue) -> None:
    queue.handle(Hopeless, Recorder(failures=5, error=asyncio.CancelledError()))  # type: ignore[arg-type]
    async with queue.work():
        await queue.push(Hopeless(text="x"))
        await until_idle(queue)
    assert [each.error.rpartition(".")[2] for each in await queue.failed()] == [HandlerCancelledError.__name__]


async def test_a_key_is_taken_once_while_its_job_waits_or_runs(queue: Queue, driver: str) -> None:
    handler = Recorder()
    queue.handle(Note, handler)
    if driver == "sync":
        first, second = [await queue.push(Note(text="a"), unique="k") for _ in range(2)]
        assert first.is_new
        assert second.is_new
        return
    handler.gate.clear()
    first = await queue.push(Note(text="a"), unique="k")
    assert await queue.push(Note(text="b"), unique="k") == type(first)(first.id, is_new=False)
    assert (await queue.push(Note(text="c"), unique="other")).is_new
    async with queue.work():
        await until(lambda: handler.texts == ["a", "c"])
        assert await queue.later(Note(text="d"), delay=timedelta(0), unique="k") == type(first)(first.id, is_new=False)
        handler.gate.set()
        await until_idle(queue)
        again = await queue.push(Note(text="e"), unique="k")
        assert again.is_new
        await until_idle(queue)
    assert handler.texts == ["a", "c", "e"]


async def test_of_failed_jobs_with_one_key_one_is_retried(queue: Queue) -> None:
    handler = Recorder(failures=2, error=KeyError("x"))
    queue.handle(Hopeless, handler)
    async with queue.work():
        for text in "ab":
            await queue.push(Hopeless(text=text), unique="k")
            await until_idle(queue)
        assert await queue.retry_all() == 1
        await until_idle(queue)
    assert len(await queue.failed()) == 1


async def test_a_worker_serves_the_queues_that_it_names(queue: Queue, driver: str) -> None:
    handler = Recorder()
    queue.handle(Note, handler)
    if driver == "sync":
        await queue.on("emails").push(Note(text="mail"))
        assert handler.texts == ["mail"]
        return
    await queue.push(Note(text="plain"))
    await queue.on("emails").push(Note(text="mail"))
    await queue.on("emails").chain([Note(text="mail"), Note(text="mail")])
    async with queue.work("emails", "others"):
        await until(lambda: len(handler.texts) == 3)
    assert set(handler.texts) == {"mail"}
    (status,) = await queue.status()
    assert (status.queue, status.waiting) == ("default", 1)
    assert 0 < status.oldest_seconds < 60


async def test_a_job_of_a_higher_priority_starts_first(queue: Queue, driver: str) -> None:
    if driver == "sync":
        pytest.skip("each job is run when it is pushed")
    handler = Recorder()
    queue.handle(Note, handler)
    queue.handle(Urgent, handler)
    await queue.push(Note(text="later"))
    await queue.push(Urgent(text="first"))
    async with queue.work(concurrency=1):
        await until_idle(queue)
    assert handler.texts == ["first", "later"]


async def test_a_running_job_may_end_in_its_grace(queue: Queue, driver: str) -> None:
    if driver == "sync":
        pytest.skip("no job runs in the background")
    handler = Recorder()
    handler.gate.clear()
    queue.handle(Note, handler)
    await queue.push(Note(text="a"))
    async with queue.work(concurrency=1):
        await until(lambda: handler.texts == ["a"])
        await queue.push(Note(text="b"))
        asyncio.get_running_loop().call_later(0.2, handler.gate.set)
    assert handler.texts == ["a"]
    assert [(each.waiting, each.running) for each in await queue.status()] == [(1, 0)]


async def test_a_job_that_outlasts_its_grace_is_given_back(queue: Queue, driver: str) -> None:
    if driver == "sync":
        pytest.skip("no job runs in the background")
    handler = Recorder()
    handler.gate.clear()
    queue.handle(Note, handler)
    await queue.push(Note(text="a"))
    for _ in range(2):
        async with queue.work(grace=timedelta(milliseconds=50)):
            await until(lambda: bool(handler.texts))
        handler.texts.clear()
        assert [(each.waiting, each.running) for each in await queue.status()] == [(1, 0)]
    handler.gate.set()
    async with queue.work():
        await until_idle(queue)
    assert [run.attempt for run in handler.runs] == [1, 1, 1]


async def test_a_job_without_a_handler_waits_for_a_newer_process(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Recorder()
    queue.handle(Flaky, handler)
    await queue.push(Note(text="a"))
    async with queue.work():
        await queue.push(Flaky(text="b"))
        await until(lambda: handler.texts == ["b"])
    assert [(each.waiting, each.scheduled, each.failed) for each in await queue.status()] == [(1, 0, 0)]
    assert "Note" not in caplog.text
    queue.handle(Note, handler)
    async with queue.work():
        # With sync, a push runs what waits.
        await queue.push(Flaky(text="c"))
        await until_idle(queue)
    assert [(run.attempt, text) for run, text in zip(handler.runs, handler.texts, strict=True)][1:] == [
        (1, "a"),
        (1, "c"),
    ]


async def test_what_does_not_fit_the_model_is_an_error_without_its_values(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    class Old(Job, name="Changed"):
        text: str

    class New(Job, name="Changed", retry=Hopeless.job_options.retry):
        text: int

    queue.handle(New, Recorder())  # type: ignore[arg-type]
    async with queue.work():
        await queue.push(Old(text="payload-content"))
        await until_idle(queue)
    assert [each.error.rpartition(".")[2] for each in await queue.failed()] == ["PayloadError"]
    assert "Changed: text" in caplog.text
    assert "payload-content" not in caplog.text


async def test_a_cron_expression_pushes_its_job(queue: Queue, driver: str) -> None:
    if driver not in {"postgresql", "memory"}:
        pytest.skip("its clock is that of memory")
    handler = Recorder()
    queue.handle(Note, handler)
    queue.cron("* * * * * *", Note(text="tick"))
    async with queue.work():
        await until(lambda: len(handler.texts) >= 2)
    assert set(handler.texts) == {"tick"}


async def test_a_handler_can_end_its_job_itself(queue: Queue, driver: str) -> None:
    if driver == "postgresql":
        pytest.skip("in test_transactions")

    async def finish(job: Flaky, run: Run) -> None:
        await run.finish(connection=None)
        raise ConnectionError

    queue.handle(Flaky, finish)
    async with queue.work():
        await queue.push(Flaky(text="a"))
        await until_idle(queue)
    assert await queue.failed() == []


async def test_a_queue_is_used_in_its_block(driver: str, database: str) -> None:
    queue = open_queue(driver, database)
    for call in (queue.push(Note(text="a")), queue.status(), queue.failed(), queue.retry_all()):
        with pytest.raises(QueueNotOpenError):
            await call
    with pytest.raises(QueueNotOpenError):
        async with queue.work():
            pass


@pytest.fixture(autouse=True)
def log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


async def test_it_is_opened_again_after_it_is_closed(queue: Queue) -> None:
    handler = Recorder()
    queue.handle(Note, handler)
    await open_anew(queue, lambda: queue.push(Note(text="x")))
    async with queue.work():
        await until_idle(queue)
    assert handler.texts == ["x"] * 4
