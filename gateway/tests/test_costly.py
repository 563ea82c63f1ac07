"""Costly requests have few places of their own at the gateway, and are refused there."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from gateway_support import Wire, gateway, responding, serving
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

ONE, OTHER = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}


class Searches:
    """A gateway whose upstream answers no search until it is released; one may run and two may wait."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.begun = 0
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.tasks: list[asyncio.Task[httpx.Response]] = []

    async def respond(self, request: Request) -> Response:
        if "search" in request.query_params and "authorization" not in request.headers:
            self.begun += 1
            self.entered.set()
            await self.release.wait()
        return Response("here")

    def ask(self, headers: dict[str, str], query: str = "search=bees") -> asyncio.Task[httpx.Response]:
        self.tasks.append(asyncio.create_task(self.client.get(f"/posts?{query}", headers=headers)))
        return self.tasks[-1]

    async def fill(self, query: str = "search=bees") -> None:
        """One client asks until it is refused: then one search of it runs, and two wait."""
        self.ask(ONE, query)
        await self.entered.wait()
        asked = [self.ask(ONE, query) for _ in range(3)]
        refused = await next(asyncio.as_completed(asked))
        assert (refused.status_code, refused.json()["type"]) == (503, "upstream-busy")
        assert refused.headers["retry-after"] == "1"


@pytest.fixture
async def searches() -> AsyncIterator[Searches]:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        found = Searches(client)
        async with (
            serving(responding(found.respond)) as upstream,
            gateway(
                content_url=upstream,
                costly_requests_per_address=1,
                upstream_queue_timeout=60,
                upstream_read_timeout=60,
                trusted_proxies=("127.0.0.1/32",),
            ) as address,
        ):
            client.base_url = httpx.URL(address)
            yield found


async def test_searches_beyond_the_places_are_refused_and_all_else_goes_on(searches: Searches) -> None:
    await searches.fill()
    for path in ("/posts/1", "/posts", "/posts?limit=5", "/posts?sort=search"):
        assert (await searches.client.get(path, headers=ONE)).text == "here"
    # Accounts are known to the service alone.
    signed_in = {**ONE, "Authorization": "Bearer x"}
    assert (await searches.client.get("/posts?limit=2&search=bees", headers=signed_in)).text == "here"
    assert searches.begun == 1
    searches.release.set()
    statuses = sorted([(await task).status_code for task in searches.tasks])
    assert (statuses, searches.begun) == ([200, 200, 200, 503], 3)


@pytest.mark.parametrize("query", ["%73earch=bees", "limit=5&searc%68=bees", "limit=%35&%73%65arch=bees&total=true"])
async def test_an_escaped_name_is_the_name(searches: Searches, query: str) -> None:
    await searches.fill(query)
    # An escape in a value says nothing of the name.
    assert (await searches.client.get("/posts?sort=%73earch&cursor=a%3D", headers=ONE)).text == "here"
    assert searches.begun == 1
    searches.release.set()
    await asyncio.gather(*searches.tasks)


async def test_a_slow_reader_holds_no_place_once_its_response_has_started() -> None:
    read_slowly = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        # More than all buffers on the way.
        for _ in range(64):
            yield b"x" * 1024 * 1024

    async def respond(_request: Request) -> Response:
        if read_slowly.is_set():
            return Response("here")
        read_slowly.set()
        return StreamingResponse(pieces())

    async with (
        serving(responding(respond)) as upstream,
        # One that waits for its place is refused long before the slow reader is cut off.
        gateway(content_url=upstream, costly_requests_per_address=1, upstream_queue_timeout=1) as address,
        await Wire.to(address) as slow,
        httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as client,
    ):
        await slow.send(b"GET /posts?search=bees HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await slow.head()).startswith(b"HTTP/1.1 200 ")
        assert (await client.get("/posts?search=bees")).text == "here"


async def test_a_client_that_asks_little_displaces_one_that_asks_much(searches: Searches) -> None:
    await searches.fill()
    quiet = searches.ask(OTHER)
    # Until one of those that wait has been refused for it.
    waiting = [task for task in searches.tasks if not task.done() and task is not quiet]
    assert (await next(asyncio.as_completed(waiting))).status_code == 503
    searches.release.set()
    assert (await quiet).status_code == 200
    statuses = sorted([(await task).status_code for task in searches.tasks])
    assert statuses == [200, 200, 200, 503, 503]
