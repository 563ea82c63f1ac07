"""Several addresses of one upstream: which gets a request, what is retried, and which is left out."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest
from gateway_support import RawHandler, closed_port, gateway, head_of, listener, raw_upstream, responding, serving
from starlette.requests import Request
from starlette.responses import Response


def respond_with(word: str) -> RawHandler:
    """An upstream that responds to each request with the word."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await head_of(reader)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(word), word.encode()))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return handler


async def close_silently(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream that reads a request and closes the connection."""
    # On a busy machine a probe may time out before it sends its request.
    with suppress(asyncio.IncompleteReadError):
        await head_of(reader)
    writer.close()


async def words(client: httpx.AsyncClient, address: str, count: int) -> Counter[str]:
    return Counter([(await client.get(f"{address}/posts")).text for _ in range(count)])


async def test_equal_addresses_take_turns() -> None:
    async with (
        raw_upstream(respond_with("one")) as one,
        raw_upstream(respond_with("two")) as two,
        gateway(content_url=f"{one}, {two}") as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert await words(client, address, 10) == {"one": 5, "two": 5}


async def test_the_address_with_the_fewest_requests_gets_the_next() -> None:
    release = asyncio.Event()
    entered = asyncio.Event()

    async def slow(_request: Request) -> Response:
        entered.set()
        await release.wait()
        return Response("slow")

    async with (
        serving(responding(slow)) as one,
        raw_upstream(respond_with("fast")) as two,
        # Its probes would find that it hangs.
        gateway(content_url=f"{one},{two}", upstream_probe_interval=60) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        waiting = [asyncio.create_task(client.get(f"{address}/posts")) for _ in range(2)]
        await entered.wait()
        assert await words(client, address, 8) == {"fast": 8}
        release.set()
        assert {(await response).text for response in waiting} == {"slow", "fast"}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_address_that_refuses_connections_fails_no_request(method: str) -> None:
    async with (
        raw_upstream(respond_with("alive")) as alive,
        gateway(content_url=f"{closed_port()},{alive}") as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        # Nothing was sent to the address that refuses, so any request may go to the other.
        responses = [await client.request(method, f"{address}/posts", content=b"x" * 10) for _ in range(10)]
    assert {response.text for response in responses} == {"alive"}


async def test_a_get_without_a_response_is_retried_at_another_address_and_a_post_is_not() -> None:
    async with (
        raw_upstream(close_silently) as broken,
        raw_upstream(respond_with("alive")) as alive,
        gateway(content_url=f"{broken},{alive}", upstream_max_failures=1000, upstream_probe_interval=60) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        responses = await asyncio.gather(*(client.get(f"{address}/posts") for _ in range(10)))
        gets = [response.status_code for response in responses]
        posts = Counter([(await client.post(f"{address}/posts")).status_code for _ in range(10)])
    assert gets == [200] * 10
    assert set(posts) == {200, 502}


async def test_an_address_that_keeps_failing_gets_no_requests_until_it_is_back() -> None:
    asked = 0
    broken = True

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await (close_silently if broken else respond_with("repaired"))(reader, writer)

    async with (
        raw_upstream(handler) as one,
        raw_upstream(respond_with("alive")) as two,
        gateway(content_url=f"{one},{two}", upstream_max_failures=3, upstream_probe_interval=0.05) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert await words(client, address, 20) == {"alive": 20}
        # Three times by requests, and then only by the gateway's probes.
        before = asked
        async with asyncio.timeout(5):
            while asked < before + 2:  # noqa: ASYNC110 it happens in the gateway
                await asyncio.sleep(0.01)
        assert await words(client, address, 20) == {"alive": 20}
        broken = False
        async with asyncio.timeout(5):
            while "repaired" not in await words(client, address, 2):  # noqa: ASYNC110 as above
                await asyncio.sleep(0.01)


async def test_while_all_addresses_are_out_all_are_tried() -> None:
    bound = listener()
    port = bound.getsockname()[1]
    bound.close()
    async with (
        gateway(
            content_url=f"http://127.0.0.1:{port},{closed_port()}", upstream_max_failures=1, upstream_probe_interval=60
        ) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        statuses = [(await client.get(f"{address}/posts")).status_code for _ in range(3)]
        assert statuses == [502] * 3
        server = await asyncio.start_server(respond_with("back"), "127.0.0.1", port)
        async with server:
            assert await words(client, address, 4) == {"back": 4}
            server.close()


async def test_each_upstream_has_its_own_places() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Response:
        entered.set()
        await release.wait()
        return Response("slow")

    async with (
        serving(responding(slow)) as content,
        raw_upstream(respond_with("auth")) as auth,
        gateway(content_url=content, auth_url=auth, upstream_connections=1, upstream_queue_timeout=0.05) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        first = asyncio.create_task(client.get(f"{address}/posts"))
        await entered.wait()
        assert (await client.get(f"{address}/posts")).status_code == 503
        assert (await client.get(f"{address}/users/1")).text == "auth"
        release.set()
        assert (await first).text == "slow"


async def test_all_waiting_requests_get_a_place_and_the_number_of_places_is_kept() -> None:
    running = 0
    most = 0
    served = []

    async def respond(request: Request) -> Response:
        nonlocal running, most
        served.append(request.url.path)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return Response(request.url.path)

    async with (
        serving(responding(respond)) as upstream,
        gateway(
            content_url=upstream, upstream_connections=3, upstream_queue_timeout=30, upstream_read_timeout=60
        ) as address,
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        responses = await asyncio.gather(*(client.get(f"{address}/posts/{number}") for number in range(100)))
    assert [response.text for response in responses] == [f"/posts/{number}" for number in range(100)]
    assert sorted(served) == sorted(response.text for response in responses)
    assert most <= 3


async def test_one_client_cannot_take_an_upstream_from_the_others() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def respond(request: Request) -> Response:
        if "hang" in request.query_params:
            entered.set()
            await release.wait()
        return Response("here")

    async with (
        serving(responding(respond)) as upstream,
        gateway(
            content_url=upstream,
            upstream_connections=4,
            upstream_queue_timeout=0.05,
            trusted_proxies=("127.0.0.1/32",),
        ) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        one, other = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
        hanging = [asyncio.create_task(client.get(f"{address}/posts?hang", headers=one)) for _ in range(10)]
        await entered.wait()
        assert (await client.get(f"{address}/posts", headers=one)).status_code == 503
        assert (await client.get(f"{address}/posts", headers=other)).text == "here"
        # All but the two that have a place.
        refused = asyncio.as_completed(hanging)
        for _ in range(8):
            assert (await next(refused)).status_code == 503
        release.set()
        statuses = Counter([(await each).status_code for each in hanging])
    assert statuses == {200: 2, 503: 8}


async def test_a_row_of_the_route_table_has_its_own_timeouts_and_body_limit() -> None:
    async def respond(request: Request) -> Response:
        if "hang" in request.query_params:
            await asyncio.Event().wait()
        return Response(str(len(await request.body())))

    routes = (
        {"prefix": "/quick", "upstream": "content", "read_timeout": 0.1, "body_limit": 10},
        {"prefix": "/posts", "upstream": "content", "body_limit": 300_000},
        {"prefix": "/none", "upstream": "content", "body_limit": 0},
    )
    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream, routes=routes) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert (await client.get(f"{address}/quick?hang")).status_code == 504
        assert (await client.post(f"{address}/quick", content=b"x" * 10)).text == "10"
        refused = await client.post(f"{address}/quick", content=b"x" * 11)
        assert (refused.status_code, refused.json()["type"]) == (413, "body-too-large")
        assert (await client.post(f"{address}/none", content=b"x")).status_code == 413
        assert (await client.post(f"{address}/posts", content=b"x" * 300_000)).text == "300000"


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 50_000


async def test_a_body_without_a_length_is_cut_off_at_the_limit() -> None:
    whole = []

    async def respond(request: Request) -> Response:
        whole.append(len(await request.body()))
        return Response()

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream, body_limit=400_000) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        refused = await client.post(f"{address}/posts", content=_pieces(9))
        assert (refused.status_code, refused.json()["type"]) == (413, "body-too-large")
        assert (await client.post(f"{address}/posts", content=_pieces(8))).status_code == 200
    assert whole == [400_000]
