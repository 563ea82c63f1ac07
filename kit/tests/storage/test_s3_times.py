"""A server that sends a byte now and then, which no time of a single read ends."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from botocore import endpoint
from kpi_kit.errors import UrlError
from kpi_kit.storage import Storage, StorageUnavailableError
from kpi_kit.storage.drivers import s3 as s3_driver
from kpi_kit.storage.drivers import s3_threads
from kpi_kit.storage.drivers.s3_threads import ThreadCall
from storage_support import MIB, RESPONSE, bucket_url, chunks, run_dripping_server

pytestmark = pytest.mark.anyio

_HEAD = b"HTTP/1.1 200 OK\r\nX-Long:"
_BODY = RESPONSE % 10**9
# The beginning of a record of the handshake.
_TLS = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"

Use = Callable[[Storage], Awaitable[object]]


async def _read_all(storage: Storage) -> None:
    async with await storage.open("a") as file:
        async for _ in file:
            pass


CASES: dict[str, tuple[bytes, Use]] = {
    "head": (_HEAD, lambda storage: storage.get("a")),
    "body": (_BODY, lambda storage: storage.get("a")),
    "rest of a body": (_BODY + b"x" * 2 * MIB, _read_all),
    "metadata": (_HEAD, lambda storage: storage.read_metadata("a")),
    "list": (_BODY, lambda storage: anext(storage.list())),
    "put": (_HEAD, lambda storage: storage.put("a", b"x")),
    "upload": (_HEAD, lambda storage: storage.put("a", chunks(b"x" * 9 * MIB))),
    "copy": (_HEAD, lambda storage: storage.copy("a", "b")),
    "delete": (_HEAD, lambda storage: storage.delete("a")),
    "handshake": (_TLS, lambda storage: storage.get("a")),
}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 threads set no event
            await asyncio.sleep(0.01)


def _are_all_free(storage: Any) -> bool:
    return bool(storage._driver._threads._daemons.free._value == s3_driver._THREADS)


def _have_threads_ended() -> bool:
    return not any(thread.name == "kpi-storage" for thread in threading.enumerate())


@pytest.mark.parametrize("case", CASES)
async def test_a_call_ends_in_time_though_bytes_come(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_driver, "_SERVER_SECONDS", 0.5)
    # The time that an upload has for what it sends.
    monkeypatch.setattr("kpi_kit.storage.drivers.s3_threads._LEAST_RATE", 100 * MIB)
    beginning, use = CASES[case]
    scheme = "https" if case == "handshake" else "http"
    async with (
        run_dripping_server(beginning, scheme=scheme) as server,
        Storage.from_url(f"{bucket_url(server.url, 'a')}&timeout=0.5") as storage,
    ):
        async with asyncio.timeout(20):
            with pytest.raises(StorageUnavailableError):
                await use(storage)
        await _until(lambda: _are_all_free(storage))
    await _until(_have_threads_ended)


async def test_a_server_that_has_taken_all_threads_gives_them_back() -> None:
    async with (
        run_dripping_server(_HEAD) as server,
        Storage.from_url(f"{bucket_url(server.url, 'a')}&timeout=0.5") as storage,
    ):
        async with asyncio.timeout(60):
            found = await asyncio.gather(*(storage.get("a") for _ in range(20)), return_exceptions=True)
        assert {type(error) for error in found} == {StorageUnavailableError}
        await _until(lambda: _are_all_free(storage))
        server.is_good = True
        async with asyncio.timeout(20):
            assert await storage.get("a") == b""


async def test_a_call_that_ends_in_its_pause_leaves_the_connection_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[ThreadCall] = []
    pauses, is_paused, goes_on, is_closed = threading.Event(), threading.Event(), asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(s3_threads, "ThreadCall", lambda: calls.append(ThreadCall()) or calls[-1])
    monkeypatch.setattr(endpoint.time, "sleep", lambda _seconds: (is_paused.set(), pauses.wait(20)))
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            writer.write(RESPONSE % (2 * MIB) + b"x" * MIB)
            await goes_on.wait()
            writer.write(b"x" * MIB)
        writer.close()
        await writer.wait_closed()
        is_closed.set()

    async with asyncio.timeout(30), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Storage.from_url(bucket_url(url, "a")) as storage:
            paused = asyncio.create_task(storage.get("a"))
            await _until(is_paused.is_set)
            async with await storage.open("b") as file:
                # As at the end of its time.
                calls[0].end()
                goes_on.set()
                assert sum([len(chunk) async for chunk in file]) == 2 * MIB
            pauses.set()
            with pytest.raises(StorageUnavailableError):
                await paused
        await is_closed.wait()
    assert connections == 1


async def test_a_file_may_be_read_for_longer_than_a_call(aws: str, prefix: str) -> None:
    """Each chunk has the time of a call."""
    async with Storage.from_url(f"{bucket_url(aws, prefix)}&timeout=3") as storage:
        await storage.put("a", b"x" * MIB)
        async with await storage.open("a") as file:
            size = len(await anext(aiter(file)))
            await asyncio.sleep(3.1)
            async for chunk in file:
                size += len(chunk)
        assert size == MIB


@pytest.mark.parametrize("timeout", ["0", "x", "3601"])
def test_the_time_of_a_call_has_bounds(timeout: str) -> None:
    with pytest.raises(UrlError, match="timeout"):
        Storage.from_url(f"s3://kit-files/a?timeout={timeout}")
