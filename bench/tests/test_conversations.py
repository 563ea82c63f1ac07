"""The reader and the writer whose latencies the table of conversations shows, against a stand-in with a known delay."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from kpi_bench import followers
from kpi_bench.tables import conversations

DELAY = 0.05
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class _StandIn:
    """Responds to each message at once, and shows it to the reader later; ``lose`` shows none."""

    def __init__(self, *, lose: bool) -> None:
        self._lose = lose
        self._reader: asyncio.StreamWriter | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.status = b"201"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            if head.startswith(b"GET"):
                self._reader = writer
                self._show(b"event: ready\ndata: {}\n\n", first=HEAD)
                continue
            body = await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))
            writer.write(b"HTTP/1.1 %b Created\r\ncontent-length: 2\r\n\r\n{}" % self.status)
            if not self._lose:
                event = b"event: message.created\ndata: " + body.replace(b": ", b":") + b"\n\n"
                asyncio.get_running_loop().call_later(DELAY, self._show, event)

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            await writer.wait_closed()

    def _show(self, event: bytes, first: bytes = b"") -> None:
        assert self._reader is not None
        self._reader.write(first + b"%x\r\n%b\r\n" % (len(event), event))


@asynccontextmanager
async def stand_in(*, lose: bool = False) -> AsyncIterator[tuple[_StandIn, str]]:
    served = _StandIn(lose=lose)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    async with server:
        yield served, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await served.close()
        server.close()


def test_the_time_is_from_sending_a_message_until_its_event_is_read() -> None:
    async def measure() -> dict[str, object]:
        async with stand_in() as (_, url):
            return await followers.deliver(write=url, read=url, token="t", conversation=1, rate=20, seconds=0.5)

    found = asyncio.run(measure())
    times = found["milliseconds"]
    assert isinstance(times, list)
    assert (found["lost"], found["errors"], len(times)) == (0, 0, 10)
    assert all(each >= DELAY * 1000 for each in times)


def test_messages_that_do_not_arrive_or_are_refused_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "LATE_SECONDS", 0.1)

    async def measure() -> dict[str, object]:
        async with stand_in(lose=True) as (served, url):
            served.status = b"503"
            return await followers.deliver(write=url, read=url, token="t", conversation=1, rate=20, seconds=0.5)

    found = asyncio.run(measure())
    assert (found["lost"], found["errors"]) == (10, 10)


def test_the_table_judges_streams_pages_and_connections(tmp_path: Path) -> None:
    steady = [{"p50": 2.0, "p99": 5.0, "late": 0.0}]
    pace = [{"rate": 100.0, "p50": 2.0, "p99": 5.0}]
    text = conversations.render(
        {
            "delivery": [{"p50": 10.0, "p99": 20.0}],
            "memory": {"gateway": 20_480.0, "content": 30_720.0},
            "connections": 12,
            "reads": {conversations.ALONE: steady, conversations.BESIDE: [{"p50": 2.0, "p99": 10.0, "late": 0.0}]},
            "writes": {conversations.ONE: pace, conversations.SEVERAL: pace},
            "pages": {conversations.FIRST: pace, conversations.LAST: pace},
        },
        tmp_path,
    )
    assert "| p99 2.00 | at most 1.5: **not reached** |" in text
    assert "| slowdown 1.00 | at most 1.2: reached |" in text
    assert "| 12 | reached |" in text
    assert "| memory per stream, gateway | 20.0 KiB |" in text
