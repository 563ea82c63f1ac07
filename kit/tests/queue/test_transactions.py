"""Jobs in the caller's transaction, and effects in the job's own."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from kpi_kit.queue import KeyBusyError, NoTransactionError, Queue, QueueFake, QueueUnavailableError, Run, TakenOverError
from kpi_kit.queue.drivers import connecting, managing
from queue_support import Flaky, Hopeless, Note, Recorder, open_queue, until, until_idle
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

_OWNERS = ("psycopg", "sqlalchemy connection", "sqlalchemy session")


@pytest.fixture
async def queue(database: str) -> AsyncIterator[Queue]:
    async with open_queue("postgresql", database) as opened:
        yield opened


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database.replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    await engine.dispose()


@pytest.fixture(params=_OWNERS)
async def connection(
    request: pytest.FixtureRequest, database: str, engine: AsyncEngine
) -> AsyncIterator[psycopg.AsyncConnection | AsyncConnection | AsyncSession]:
    """Each kind of connection, at the beginning of a transaction."""
    if request.param == "psycopg":
        async with await psycopg.AsyncConnection.connect(database) as plain:
            yield plain
    elif request.param == "sqlalchemy connection":
        async with engine.connect() as core:
            await core.begin()
            yield core
    else:
        async with AsyncSession(engine) as session:
            yield session


@pytest.mark.parametrize("unique", [None, "k"])
async def test_a_job_exists_if_the_transaction_commits(queue: Queue, connection: Any, unique: str | None) -> None:
    await queue.push(Note(text="lost"), connection=connection, unique=unique)
    await connection.rollback()
    assert await queue.status() == []
    if isinstance(connection, AsyncConnection):
        await connection.begin()
    pushed = await queue.push(Note(text="kept"), connection=connection, unique=unique)
    assert await queue.status() == []
    await connection.commit()
    handler = Recorder()
    queue.handle(Note, handler)
    async with queue.work():
        await until_idle(queue)
    assert handler.texts == ["kept"]
    assert [run.id for run in handler.runs] == [pushed.id]


async def test_a_second_push_of_a_key_leaves_the_transaction_usable(queue: Queue, connection: Any) -> None:
    first = await queue.push(Note(text="a"), unique="k")
    second = await queue.push(Note(text="b"), unique="k", connection=connection)
    assert (second.id, second.is_new) == (first.id, False)
    await queue.chain([Note(text="c"), Note(text="d")], connection=connection)
    await connection.commit()
    assert [each.waiting for each in await queue.status()] == [2]


async def test_two_transactions_push_one_key_once(queue: Queue, database: str) -> None:
    async with (
        await psycopg.AsyncConnection.connect(database) as one,
        await psycopg.AsyncConnection.connect(database) as other,
    ):
        first = await queue.push(Note(text="a"), unique="k", connection=one)
        waiting = asyncio.create_task(queue.push(Note(text="b"), unique="k", connection=other))
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as third:
            await until(lambda: _has_waiter(third))
        await one.commit()
        assert await waiting == type(first)(first.id, is_new=False)


async def test_a_key_of_a_transaction_that_stays_open_leaves_the_other_usable(queue: Queue, database: str) -> None:
    async with (
        await psycopg.AsyncConnection.connect(database, autocommit=True) as plain,
        await psycopg.AsyncConnection.connect(database) as one,
        await psycopg.AsyncConnection.connect(database) as other,
    ):
        limit = "ALTER FUNCTION kpi_queue.push_unique SET lock_timeout = "
        await plain.execute(f"{limit} '200ms'")
        try:
            first = await queue.push(Note(text="a"), unique="k", connection=one)
            await queue.push(Note(text="b"), connection=other)
            with pytest.raises(KeyBusyError):
                await queue.push(Note(text="c"), unique="k", connection=other)
            await one.commit()
            assert (await queue.push(Note(text="c"), unique="k", connection=other)).id == first.id
            await other.commit()
        finally:
            await plain.execute(f"{limit} '5s'")
    assert [each.waiting for each in await queue.status()] == [2]


async def test_a_retry_and_pushes_with_its_key_can_cross(queue: Queue, database: str) -> None:
    """The push comes between the look at the key and the retry: it holds the row that the retry is to change."""
    queue.handle(Hopeless, Recorder(failures=1, error=KeyError("x")))
    async with queue.work():
        await queue.push(Hopeless(text="a"), unique="k")
        await until_idle(queue)
    async with (
        await psycopg.AsyncConnection.connect(database) as one,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as third,
    ):
        pushed = await queue.push(Hopeless(text="b"), unique="k", connection=one)
        retrying = asyncio.create_task(queue.retry_all())
        await until(lambda: _has_waiter(third))
        await one.commit()
        assert await retrying == 0
    assert pushed.is_new


async def test_no_transaction_is_an_error(queue: Queue, engine: AsyncEngine, database: str) -> None:
    async with engine.connect() as core, await psycopg.AsyncConnection.connect(database, autocommit=True) as plain:
        for connection in (core, plain):
            with pytest.raises(NoTransactionError):
                await queue.push(Note(text="a"), connection=connection)
        with pytest.raises(TypeError, match="not a connection"):
            await queue.push(Note(text="a"), connection=object())
    assert await queue.status() == []


@pytest.mark.parametrize("url", ["memory://", "sync://"])
async def test_no_transaction_is_an_error_elsewhere(url: str) -> None:
    async with Queue.from_url(url) as queue:
        with pytest.raises(NoTransactionError):
            await queue.push(Note(text="a"), connection=object())
        assert await queue.status() == []


async def test_the_fake_records_the_connection() -> None:
    async with QueueFake() as queue:
        connection = object()
        await queue.push(Note(text="a"), connection=connection)
        assert queue.assert_pushed(Note(text="a")).connection is connection


async def test_a_job_ends_in_its_own_transaction(queue: Queue, database: str) -> None:
    """The first run dies after its statements, the second after its commit."""
    endings: list[Exception] = [ConnectionError(), ConnectionError()]

    async def handle(job: Flaky, run: Run) -> None:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await run.finish(connection=connection)
            await connection.execute("INSERT INTO effects VALUES (%s)", [run.attempt])
            if run.attempt == 1:
                raise endings.pop()
            await connection.commit()
        raise endings.pop()

    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("CREATE TABLE effects (attempt int)")
        try:
            queue.handle(Flaky, handle)
            queue.handle(Note, notes := Recorder())
            async with queue.work():
                await queue.chain([Flaky(text="a"), Note(text="b")])
                await until(lambda: not endings)
                await until_idle(queue)
            rows = await (await connection.execute("SELECT attempt FROM effects")).fetchall()
        finally:
            await connection.execute("DROP TABLE effects")
    assert rows == [(2,)]
    assert notes.texts == ["b"]
    assert await queue.failed() == []


async def test_a_run_that_was_taken_over_cannot_finish(queue: Queue, database: str) -> None:
    handler = Recorder()
    handler.gate.clear()
    queue.handle(Note, handler)
    async with await psycopg.AsyncConnection.connect(database) as connection, queue.work():
        await queue.push(Note(text="a"))
        await until(lambda: len(handler.runs) == 1)
        # As after a silence, when another worker has found the job.
        await connection.execute("UPDATE kpi_queue.procrastinate_jobs SET status = 'todo'")
        await connection.commit()
        await until(lambda: len(handler.runs) == 2)
        await connection.execute("UPDATE kpi_queue.procrastinate_jobs SET worker_id = NULL")
        await connection.commit()
        with pytest.raises(TakenOverError):
            await handler.runs[0].finish(connection=connection)
        await connection.rollback()
        handler.gate.set()
        # No run that has lost its job ends it.
        await until(_are_all_done)
        assert [each.waiting + each.scheduled + each.running for each in await queue.status()] == [1]


async def test_a_process_that_does_not_know_a_job_leaves_it_to_others_when_its_worker_is_lost(
    queue: Queue, database: str
) -> None:
    async with open_queue("postgresql", database) as other:
        other.handle(Note, Recorder())
        lost = await queue.push_all([Note(text="a"), Flaky(text="b")])
        with psycopg.connect(database) as connection:
            connection.execute("UPDATE kpi_queue.procrastinate_jobs SET status = 'doing', attempts = 20")
        async with other.work():
            await until(lambda: _has_failed(other, lost[0].id))
        assert [(each.running, each.failed) for each in await queue.status()] == [(1, 1)]


async def test_errors_of_the_database_are_typed_and_say_nothing_of_the_url(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connecting, "PATIENCE", 0.2)
    monkeypatch.setattr(connecting._ONCE_PER_MINUTE, "_shown_at", float("-inf"))
    hidden = "postgresql://user:hidden-word@127.0.0.1:1/database"
    async with Queue.from_url(hidden) as queue:
        for _ in range(2):
            with pytest.raises(QueueUnavailableError) as caught:
                await queue.push(Note(text="payload-content"))
    assert len([each for each in caplog.records if each.name == "psycopg.pool"]) == 1
    shown = f"{caught.value!r} {caught.value.__cause__!r} {queue!r}"
    assert "hidden-word" not in shown
    assert "payload-content" not in shown


async def test_nothing_that_is_stored_is_unpickled(queue: Queue, database: str) -> None:
    """A payload is JSON, read by the model: a pickle in it is a text like others."""
    hostile = "gASVIAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAVmYWxzZZSFlFKULg=="
    handler = Recorder()
    queue.handle(Note, handler)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO kpi_queue.procrastinate_jobs (queue_name, task_name, args) VALUES ('default', 'Note', %s)",
            [json.dumps({"job": {"text": hostile, "py/reduce": [hostile]}, "py/object": "os.system"})],
        )
    async with queue.work():
        await until_idle(queue)
    assert handler.texts == [hostile]
    assert "pickle" not in vars(managing)


async def _has_failed(queue: Queue, job_id: int) -> bool:
    return [each.id for each in await queue.failed()] == [job_id]


def _are_all_done() -> bool:
    return not any(task.get_name().startswith("process job") for task in asyncio.all_tasks())


async def _has_waiter(connection: psycopg.AsyncConnection) -> bool:
    cursor = await connection.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    row = await cursor.fetchone()
    return row is not None and bool(row[0])
