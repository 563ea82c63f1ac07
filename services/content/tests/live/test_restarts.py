"""Processes that stop: streams end at once and regularly, and what clients read and write is complete."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest
from content_support import Caller
from kpi_content.settings import ContentSettings
from kpi_shared.database import Database
from kpi_shared.testing.process import PartProcess, free_port, launch_part
from live_support import (
    Conversation,
    Reading,
    create_conversation,
    environment_of,
    follow,
    read_stream,
    send,
    wait_until,
)


class Processes:
    """Two of the service, each of which can be replaced at its address."""

    def __init__(self, settings: ContentSettings, folder: Path) -> None:
        self._environment = environment_of(settings, UPLOAD_SILENCE_TIMEOUT="30")
        self._folder = folder
        self.ports = (free_port(), free_port())
        self._stacks = [ExitStack(), ExitStack()]
        self.parts: list[PartProcess] = [self._start(0), self._start(1)]

    def _start(self, number: int) -> PartProcess:
        log, port = self._folder / f"{number}.log", self.ports[number]
        return self._stacks[number].enter_context(launch_part("kpi_content", self._environment, log=log, port=port))

    @property
    def addresses(self) -> tuple[str, str]:
        return self.parts[0].address, self.parts[1].address

    def stop(self, number: int) -> None:
        self._stacks[number].close()

    def restart(self, number: int) -> None:
        self.stop(number)
        self.parts[number] = self._start(number)


@pytest.fixture
def processes(live_settings: ContentSettings, tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(live_settings, tmp_path)
    yield processes
    for number in (0, 1):
        processes.stop(number)


@pytest.fixture
async def conversation(processes: Processes, live_database: Database, anna: Caller) -> AsyncIterator[Conversation]:
    async with httpx.AsyncClient(timeout=30) as client:
        yield await create_conversation(processes.addresses, live_database, client, anna)


async def test_a_rolling_restart_loses_and_doubles_nothing(processes: Processes, conversation: Conversation) -> None:
    """Each process is replaced, while one client writes and two read."""
    is_writing = True
    written: list[int] = []
    readings = [Reading(), Reading()]

    async def write() -> None:
        while is_writing:
            written.append(await write_somewhere(conversation, str(len(written))))
            await asyncio.sleep(0.01)

    async def read(reading: Reading, at: int) -> None:
        while is_writing or len(reading.numbers) < len(written):
            last = reading.last_id if reading.events else 0
            try:
                await read_stream(conversation.events(at=at), conversation.owner.headers, reading, last=last)
            except httpx.ConnectError:
                at = 1 - at
                await asyncio.sleep(0.01)

    reading = [asyncio.create_task(read(each, at)) for at, each in enumerate(readings)]
    writing = asyncio.create_task(write())
    for number in (0, 1):
        await wait_until(partial(has_more_than, written, len(written) + 20))
        await asyncio.to_thread(processes.restart, number)
    is_writing = False
    await writing
    await wait_until(lambda: all(len(each.numbers) >= len(written) for each in readings))
    assert written == list(range(1, len(written) + 1))
    for each in readings:
        assert each.numbers == written
        assert each.of("reset") == []
        assert len(each.of("ready")) > 1
    for number in (0, 1):
        processes.stop(number)
    await asyncio.gather(*reading, return_exceptions=True)


def has_more_than(numbers: list[int], count: int) -> bool:
    return len(numbers) > count


async def write_somewhere(conversation: Conversation, content: str) -> int:
    """The number of a new message. Nothing was received where no connection could be made."""
    for attempt in range(1000):
        try:
            return int((await conversation.write(content, at=attempt % 2))["number"])
        except httpx.ConnectError:
            await asyncio.sleep(0.01)
    raise AssertionError("no process accepts messages")


async def test_what_has_come_of_an_upload_is_stored_when_its_process_stops(
    live_settings: ContentSettings,
    replicas: tuple[str, str],
    live_database: Database,
    anna: Caller,
    tmp_path: Path,
) -> None:
    environment = environment_of(live_settings, UPLOAD_SILENCE_TIMEOUT="60")
    with launch_part("kpi_content", environment, log=tmp_path / "log") as stopped:
        async with httpx.AsyncClient(timeout=30) as client:
            conversation = await create_conversation((stopped.address, replicas[1]), live_database, client, anna)
            async with follow(conversation.events(at=1), anna.headers) as reading:
                sending = await send(conversation, at=0)
                sending.write("begun")
                await wait_until(lambda: bool(reading.of("message.delta")))
                stopped.process.terminate()
                response = await sending.response()
                await wait_until(lambda: bool(reading.of("message.created")))
        assert await asyncio.to_thread(stopped.process.wait, 30) == 0
    assert (response.status_code, response.json()["type"]) == (503, "upload-stopped")
    created = reading.of("message.created")[0]
    assert (created["content"], created["interrupted"]) == ("begun", True)
    assert response.headers["Location"] == f"{conversation.path}/messages/{created['id']}"
