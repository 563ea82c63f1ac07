"""Upstreams that respond wrongly: a client gets a 502 or a visibly incomplete response, never that of another."""

import asyncio
import random

import httpx
import pytest
from gateway_support import Wire, gateway, head_of, raw_upstream, responding, serving
from starlette.requests import Request
from starlette.responses import Response

OK = b"HTTP/1.1 200 OK\r\n"
SECOND = OK + b"Content-Length: 6\r\n\r\nstolen"
GET = b"GET /posts HTTP/1.1\r\nHost: a\r\n\r\n"


class Scripted:
    """An upstream that responds to each request with ``data``, byte for byte, and keeps the connection open."""

    def __init__(self, data: bytes, *, closes: bool = False, in_pieces: bool = False) -> None:
        self.data = data
        self.closes = closes
        self.in_pieces = in_pieces
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await head_of(reader)
                for piece in [bytes([byte]) for byte in self.data] if self.in_pieces else [self.data]:
                    writer.write(piece)
                    await writer.drain()
                    # Lets the event loop run, so that the pieces arrive one by one.
                    await asyncio.sleep(0)
                if self.closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


async def request_repeatedly(upstream: Scripted, request: bytes = GET, times: int = 2) -> list[bytes]:
    """What a client gets on one connection for the request, repeated; until the gateway closes it."""
    responses = []
    limits = {"upstream_read_timeout": 0.3, "upstream_silence_timeout": 0.3}
    async with raw_upstream(upstream) as url, gateway(content_url=url, **limits) as address:
        for _ in range(times):
            async with await Wire.to(address) as wire, asyncio.timeout(10):
                await wire.send(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                responses.append(await wire.rest())
    return responses


REFUSED = {
    "not http": b"hello\r\n\r\n",
    "http 2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http 0.9": b"<html>hello</html>",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "the same length twice": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "a list of lengths": OK + b"Content-Length: 2, 2\r\n\r\nab",
    "length and chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    "a negative length": OK + b"Content-Length: -2\r\n\r\nab",
    "a coding": OK + b"Transfer-Encoding: gzip\r\n\r\nab",
    "two codings": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    "a folded header": OK + b"X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a bare carriage return": OK + b"X-A: b\rX-B: c\r\nContent-Length: 0\r\n\r\n",
    "a null byte": OK + b"X-A: \x00\r\nContent-Length: 0\r\n\r\n",
    "a space before the colon": OK + b"Content-Length : 0\r\n\r\n",
    "an unknown status": b"HTTP/1.1 700 Odd\r\nContent-Length: 0\r\n\r\n",
    "a long status": b"HTTP/1.1 2000 Odd\r\nContent-Length: 0\r\n\r\n",
    "an unrequested upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "endless interim responses": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5000,
    "a head of a megabyte": OK + b"X-A: " + b"a" * 1_000_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "a million headers": OK + b"A: b\r\n" * 200_000,
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
async def test_an_invalid_response_is_502(data: bytes) -> None:
    for response in await request_repeatedly(Scripted(data)):
        assert response.startswith(b"HTTP/1.1 502 "), response[:200]
        assert b"application/problem+json" in response


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_interim_responses_are_not_the_response(in_pieces: bool) -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    for response in await request_repeatedly(Scripted(data + OK + b"Content-Length: 2\r\n\r\nok", in_pieces=in_pieces)):
        assert response.startswith(b"HTTP/1.1 200 ")
        assert response.endswith(b"\r\n\r\nok")
        assert b"link" not in response.lower()


async def test_a_response_without_its_body_ends_incomplete() -> None:
    for response in await request_repeatedly(Scripted(OK + b"Content-Length: 10\r\n\r\n")):
        head, _, body = response.partition(b"\r\n\r\n")
        assert (b"content-length: 10" in head, body) == (True, b"")


async def test_a_body_of_a_response_without_content_reaches_no_client() -> None:
    upstream = Scripted(b"HTTP/1.1 204 No Content\r\n\r\n" + SECOND)
    for response in await request_repeatedly(upstream):
        assert response.startswith(b"HTTP/1.1 204 ")
        assert b"stolen" not in response
    # The data after the response ended the connection.
    assert upstream.connections == 2


@pytest.mark.parametrize(
    "data",
    [
        OK + b"Content-Length: 2\r\n\r\nok" + SECOND,
        OK + b"Content-Length: 2\r\n\r\nokHTTP/1.1 2",
        OK + b"Content-Length: 2\r\n\r\nok and more than announced",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + SECOND,
    ],
)
@pytest.mark.parametrize("in_pieces", [False, True])
async def test_data_after_a_response_reaches_no_client(data: bytes, in_pieces: bool) -> None:
    for response in await request_repeatedly(Scripted(data, in_pieces=in_pieces), times=5):
        assert b"stolen" not in response
        assert b"ok" in response or b"o\r\n1\r\nk" in response or response.startswith(b"HTTP/1.1 502 ")


async def test_a_body_in_response_to_head_reaches_no_client() -> None:
    upstream = Scripted(OK + b"Content-Length: 6\r\n\r\nstolen")
    for response in await request_repeatedly(upstream, GET.replace(b"GET", b"HEAD")):
        assert response.startswith(b"HTTP/1.1 200 ")
        assert response.endswith(b"\r\n\r\n")
        assert b"content-length: 6" in response


async def test_trailers_are_dropped_and_the_connection_stays_usable() -> None:
    upstream = Scripted(OK + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n")
    for response in await request_repeatedly(upstream, times=3):
        assert b"2\r\nok\r\n" in response or response.endswith(b"ok")
        assert b"x-trailer" not in response.lower()
    assert upstream.connections == 1


async def test_chunks_that_are_mostly_extensions_are_cut_off() -> None:
    chunk = b"1;" + b"a" * 70_000 + b"\r\nx\r\n"
    (response,) = await request_repeatedly(Scripted(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunk), times=1)
    assert not response.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("data", [OK + b"\r\nuntil the end", b"HTTP/1.0 200 OK\r\n\r\nuntil the end"])
async def test_a_response_without_a_length_ends_with_its_connection(data: bytes) -> None:
    for response in await request_repeatedly(Scripted(data, closes=True)):
        assert response.startswith(b"HTTP/1.1 200 ")
        assert b"until the end" in response
        assert response.endswith(b"0\r\n\r\n")


async def test_an_unrequested_response_reaches_no_client() -> None:
    """A connection on which the upstream speaks first, or again while it is idle."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await head_of(reader)
                writer.write(OK + b"Content-Length: 2\r\n\r\nok")
                await writer.drain()
                await asyncio.sleep(0.02)
                writer.write(SECOND)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with (
        raw_upstream(handler) as url,
        gateway(content_url=url) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        for _ in range(5):
            assert (await client.get(f"{address}/posts")).text == "ok"
            await asyncio.sleep(0.05)


async def test_no_client_gets_the_response_of_another() -> None:
    """Many clients over few connections, of which a third leave at any moment of their request."""
    choice = random.Random(7)

    async def respond(request: Request) -> Response:
        number = int(request.query_params["n"])
        await asyncio.sleep(choice.random() / 100)
        return Response(f"{number} " + "x" * (number % 7) * 20_000)

    async def ask(client: httpx.AsyncClient, address: str, number: int) -> None:
        leaves_after = choice.random() / 50 if number % 3 == 0 else 20
        try:
            async with asyncio.timeout(leaves_after):
                response = await client.get(f"{address}/posts?n={number}")
        except TimeoutError:
            return
        assert response.status_code == 200
        assert response.text == f"{number} " + "x" * (number % 7) * 20_000

    async with (
        serving(responding(respond)) as upstream,
        gateway(
            content_url=upstream, upstream_connections=8, upstream_queue_timeout=20, upstream_read_timeout=60
        ) as address,
        httpx.AsyncClient(trust_env=False, timeout=30) as client,
    ):
        for batch in range(10):
            await asyncio.gather(*(ask(client, address, batch * 60 + number) for number in range(60)))
