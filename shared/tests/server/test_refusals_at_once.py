"""Requests that an application refuses without a task, many of them in one read, over real sockets."""

import asyncio
import re
import socket
from itertools import pairwise

import pytest
from kpi_shared.http.refusals import Answer
from kpi_shared.server.protocol import REFUSED_IN_A_ROW
from server_support import App, serve
from starlette.types import Scope

# More than one read takes.
MANY = 8_000


class Refusing(App):
    """Refuses each path that begins with ``/no``."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0

    def refuse_at_once(self, scope: Scope) -> Answer | None:
        body = scope["raw_path"]
        if not body.startswith(b"/no"):
            return None
        self.refused += 1
        return Answer(503, [(b"content-length", b"%d" % len(body))], body)

    async def count_in_a_row(self, total: int) -> list[int]:
        """How many were refused in each turn of the event loop, until there are so many."""
        counts = [self.refused]
        while counts[-1] < total:
            await asyncio.sleep(0)
            counts.append(self.refused)
        return [after - before for before, after in pairwise(counts)]


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


async def read_paths(reader: asyncio.StreamReader) -> list[str]:
    """The paths in the responses, until the connection ends."""
    responses = re.split(rb"HTTP/1\.1 \d{3} ", await asyncio.wait_for(reader.read(), 30))[1:]
    return [response.partition(b"\r\n\r\n")[2].decode() for response in responses]


@pytest.fixture
def app() -> Refusing:
    return Refusing()


async def test_others_have_their_turn_between_refusals(app: Refusing) -> None:
    paths = [f"/no{number}" for number in range(MANY)]
    async with serve(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"".join(map(request, paths)))
        reading = asyncio.create_task(read_paths(reader))
        async with asyncio.timeout(30):
            counts = await app.count_in_a_row(MANY)
        assert max(counts) <= REFUSED_IN_A_ROW
        # Nothing that arrived in between was lost, nor came before its turn.
        writer.write_eof()
        assert await reading == paths
        writer.close()


async def test_a_client_that_closes_its_side_gets_all_responses_in_order(app: Refusing) -> None:
    paths = [*(f"/no{number}" for number in range(50)), "/yes", *(f"/no{number}" for number in range(50, 150))]
    async with serve(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"".join(map(request, paths)) + b"GET /incompl")
        writer.write_eof()
        assert await read_paths(reader) == paths
        writer.close()


async def test_refusals_behind_a_slow_response_are_sent_to_a_client_that_has_closed_its_side(app: Refusing) -> None:
    paths = ["/wait", *(f"/no{number}" for number in range(50))]
    async with serve(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"".join(map(request, paths)))
        writer.write_eof()
        async with asyncio.timeout(20):
            await app.entered.wait()
            # The server sees the end on a later turn than the request.
            for _ in range(10):
                await asyncio.sleep(0)
        app.release.set()
        assert await read_paths(reader) == paths
        writer.close()


async def test_a_malformed_request_behind_them_is_refused_in_its_turn(app: Refusing) -> None:
    async with serve(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"".join(request(f"/no{number}") for number in range(45)) + b"GET /no HTTP/1.1\r\n\r\n")
        *refused, last = await read_paths(reader)
        assert len(refused) == 45
        assert "requires a Host" in last
        writer.close()


async def test_a_client_that_leaves_in_between_is_refused_no_longer(app: Refusing) -> None:
    async with serve(app) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, b"".join(map(request, ["/no"] * 2_000)))
            async with asyncio.timeout(20):
                await app.count_in_a_row(1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        # The server goes on for others.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("/no-more"))
        writer.write_eof()
        assert await read_paths(reader) == ["/no-more"]
        assert app.refused < 2_000
        writer.close()
