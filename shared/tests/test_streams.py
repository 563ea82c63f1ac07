"""Long responses over real connections: they end when their reader is revoked, and no other does."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI, Request
from kpi_shared.caller import Role, Subject
from kpi_shared.revocations import Revocations
from kpi_shared.streams import ReaderStream
from server_support import serve
from starlette.responses import Response


@dataclass
class Reading:
    """An application with one stream, whose readers' sessions are in the path."""

    revocations: Revocations | None
    seconds: float = 300
    closed: list[str] = field(default_factory=list)
    is_large: bool = False

    def app(self) -> FastAPI:
        app = FastAPI()
        app.state.revocations = self.revocations

        @app.get("/{session}")
        async def stream(request: Request, session: str) -> Response:
            expires_at = datetime.now(UTC) + timedelta(seconds=self.seconds)
            reader = Subject(7, "anna", Role.USER, session, "t", expires_at, account_version=1)
            return ReaderStream(request, self.chunks(session), reader=reader, media_type="text/plain")

        return app

    async def chunks(self, session: str) -> AsyncGenerator[bytes, None]:
        try:
            for number in range(1_000_000):
                yield b"x" * 1_000_000 if self.is_large else f"{number}\n".encode()
                await asyncio.sleep(0.01)
        finally:
            self.closed.append(session)


@pytest.fixture
def revocations() -> Revocations:
    return Revocations(silence_limit=10, kill_key=lambda _kid: None)


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 the condition is that of the code under test
            await asyncio.sleep(0.01)


async def read_all(port: int, session: str, begun: asyncio.Event) -> bytes:
    """The whole body, once it has ended regularly."""
    read = b""
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream("GET", f"http://127.0.0.1:{port}/{session}") as response,
    ):
        async for chunk in response.aiter_bytes():
            read += chunk
            begun.set()
    return read


async def test_a_stream_ends_with_its_readers_session(revocations: Revocations) -> None:
    reading = Reading(revocations)
    async with serve(reading.app()) as port:
        begun = {session: asyncio.Event() for session in ("12", "13")}
        streams = {session: asyncio.create_task(read_all(port, session, begun[session])) for session in begun}
        for each in begun.values():
            await asyncio.wait_for(each.wait(), 20)
        revocations.end_sessions(["12"], seconds=60)
        assert (await asyncio.wait_for(streams["12"], 20)).startswith(b"0\n")
        assert reading.closed == ["12"]
        assert not streams["13"].done()
        revocations.end_versions(7, below=2, seconds=60)
        await asyncio.wait_for(streams["13"], 20)
        assert revocations.readers == 0


@pytest.mark.parametrize("is_followed", [True, False], ids=["with revocations", "without"])
async def test_a_stream_ends_with_its_readers_token(revocations: Revocations, *, is_followed: bool) -> None:
    reading = Reading(revocations if is_followed else None, seconds=0.2)
    async with serve(reading.app()) as port:
        assert await asyncio.wait_for(read_all(port, "12", asyncio.Event()), 20)
        assert reading.closed == ["12"]


async def test_a_stream_ends_with_its_client(revocations: Revocations) -> None:
    reading = Reading(revocations)
    async with serve(reading.app(), request_timeout=2.0) as port:
        task = asyncio.create_task(read_all(port, "12", begun := asyncio.Event()))
        await asyncio.wait_for(begun.wait(), 20)
        task.cancel()
        await wait_until(lambda: reading.closed == ["12"] and revocations.readers == 0)


async def test_a_reader_who_takes_nothing_delays_no_end(revocations: Revocations) -> None:
    """The application waits until more can be sent: its end must not wait with it."""
    reading = Reading(revocations, is_large=True)
    async with serve(reading.app()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /12 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await wait_until(lambda: revocations.readers == 1)
        revocations.end_sessions(["12"], seconds=60)
        await wait_until(lambda: reading.closed == ["12"] and revocations.readers == 0)
        # What was sent before, and a regular end.
        received = b""
        async with asyncio.timeout(20):
            while not received.endswith(b"\r\n0\r\n\r\n"):
                received = received[-10:] + await reader.read(100_000)
        writer.close()


async def test_a_stream_that_ends_by_itself_or_fails_leaves_no_reader(revocations: Revocations) -> None:
    async def two() -> AsyncGenerator[bytes, None]:
        yield b"one"
        yield b"two"

    async def failing() -> AsyncGenerator[bytes, None]:
        yield b"one"
        raise RuntimeError("while it was streaming")

    app = Reading(revocations).app()
    request = Request({"type": "http", "app": app})
    subject = Subject(7, "anna", Role.USER, "1", "t", datetime.now(UTC) + timedelta(seconds=60))
    sent: list[bytes] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(bytes(message.get("body", b"")))  # type: ignore[call-overload]

    await ReaderStream(request, two(), reader=subject).stream_response(send)  # type: ignore[arg-type]
    assert sent == [b"", b"one", b"two", b""]
    with pytest.raises(RuntimeError):
        await ReaderStream(request, failing(), reader=subject).stream_response(send)  # type: ignore[arg-type]
    assert revocations.readers == 0


async def test_a_stream_whose_task_is_cancelled_while_it_sends_is_closed_in_that_task(
    revocations: Revocations,
) -> None:
    """The garbage collector would close it too, at some time."""
    reading = Reading(revocations)
    request = Request({"type": "http", "app": reading.app()})
    subject = Subject(7, "anna", Role.USER, "1", "t", datetime.now(UTC) + timedelta(seconds=60))
    is_full = asyncio.Event()

    async def send(message: dict[str, object]) -> None:
        if message.get("body"):
            is_full.set()
            await asyncio.Event().wait()

    chunks = reading.chunks("1")
    task = asyncio.create_task(ReaderStream(request, chunks, reader=subject).stream_response(send))  # type: ignore[arg-type]
    await asyncio.wait_for(is_full.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reading.closed == ["1"]
