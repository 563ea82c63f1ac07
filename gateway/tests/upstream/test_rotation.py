"""Addresses that go out of rotation and come back, and requests that are repeated at another address."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from gateway_support import Wire, gateway, head_of, raw_upstream, responding, serving
from kpi_shared.server.connections import reset
from kpi_shared.testing.metrics import Scrape
from kpi_shared.testing.process import free_port
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

pytestmark = pytest.mark.anyio
# Probes often enough for a test to see their effect soon.
INTERVAL = 0.05
NEVER = 60


class Replica:
    """One of several addresses: its readiness and its response can be changed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.readiness = 200
        self.status = 200
        self.headers: dict[str, str] = {}
        self.hangs = False
        # Hangs, but not when its readiness is asked for.
        self.is_mute = False
        self.asked: Counter[str] = Counter()

    async def respond(self, request: Request) -> Response:
        self.asked[request.method if request.url.path == "/posts" else request.url.path] += 1
        if self.hangs:
            await asyncio.Event().wait()
        if request.url.path == "/health/ready":
            return Response(status_code=self.readiness)
        if self.is_mute:
            await asyncio.Event().wait()
        return JSONResponse(self.name, self.status, self.headers)

    @property
    def app(self) -> ASGIApp:
        return responding(self.respond)


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 it happens in the gateway
            await asyncio.sleep(0.01)


async def get(client: httpx.AsyncClient, count: int) -> Counter[int | str]:
    found: Counter[int | str] = Counter()
    for _ in range(count):
        response = await client.get("/posts")
        found[response.json() if response.status_code == 200 else response.status_code] += 1
    return found


async def wait_until_only(client: httpx.AsyncClient, *names: str) -> None:
    """Until these replicas alone respond, in turn."""
    async with asyncio.timeout(20):
        while set(await get(client, 6)) != set(names):  # noqa: ASYNC110 as above
            await asyncio.sleep(0.01)


class Pair:
    """A gateway in front of two replicas."""

    def __init__(self, **settings: Any) -> None:
        self.one, self.two = Replica("one"), Replica("two")
        self._settings = {"upstream_probe_interval": INTERVAL, **settings}

    async def __aenter__(self) -> httpx.AsyncClient:
        self._stack = stack = AsyncExitStack()
        self.urls = [await stack.enter_async_context(serving(replica.app)) for replica in (self.one, self.two)]
        address = await stack.enter_async_context(gateway(content_url=",".join(self.urls), **self._settings))
        return await stack.enter_async_context(httpx.AsyncClient(base_url=address, trust_env=False, timeout=30))

    async def __aexit__(self, *_exception: object) -> None:
        await self._stack.aclose()


async def test_an_address_that_is_not_ready_gets_no_requests_until_it_is_ready_again() -> None:
    pair = Pair()
    async with pair as client:
        await wait_until_only(client, "one", "two")
        pair.one.readiness = 503
        await wait_until_only(client, "two")
        pair.one.readiness = 200
        await wait_until_only(client, "one", "two")


async def test_an_upstream_that_does_not_know_the_probed_page_is_in_rotation() -> None:
    pair = Pair()
    pair.one.readiness = pair.two.readiness = 404
    async with pair as client:
        await wait_for(lambda: pair.one.asked["/health/ready"] > 5 < pair.two.asked["/health/ready"])
        assert set(await get(client, 6)) == {"one", "two"}


async def test_while_no_address_is_ready_all_are_tried() -> None:
    pair = Pair()
    pair.one.readiness = pair.two.readiness = 503
    async with pair as client:
        await wait_for(lambda: pair.one.asked["/health/ready"] > 5 < pair.two.asked["/health/ready"])
        assert set(await get(client, 6)) == {"one", "two"}


async def test_one_failed_probe_changes_nothing() -> None:
    pair = Pair(upstream_probe_interval=0.3)
    async with pair as client:
        await wait_for(lambda: pair.one.asked["/health/ready"] > 0)
        pair.one.readiness, seen = 503, pair.one.asked["/health/ready"]
        await wait_for(lambda: pair.one.asked["/health/ready"] > seen)
        pair.one.readiness = 200
        assert set(await get(client, 6)) == {"one", "two"}


async def test_the_only_address_is_not_probed_and_always_tried() -> None:
    replica = Replica("only")
    replica.readiness = replica.status = 503
    async with (
        serving(replica.app) as upstream,
        gateway(content_url=upstream, upstream_probe_interval=INTERVAL) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        assert await get(client, 10) == {503: 10}
        await asyncio.sleep(INTERVAL * 4)
    assert replica.asked == {"GET": 10}


async def test_reads_succeed_while_an_address_responds_with_errors_and_it_goes_out_at_once() -> None:
    # Its probes come too late to matter, except for the one that its errors cause.
    pair = Pair(upstream_probe_interval=NEVER, metrics_port=(port := free_port()))
    async with pair as client:
        await wait_for(lambda: pair.one.asked["/health/ready"] > 0)
        pair.one.status = pair.one.readiness = 503
        assert await get(client, 40) == {"two": 40}
        await wait_until_only(client, "two")
        await wait_for(lambda: pair.one.asked["/health/ready"] > 1)
        before = pair.one.asked["GET"]
        await get(client, 10)
        assert pair.one.asked["GET"] == before
        scraped = await asyncio.to_thread(Scrape.of, port)
    # One may have waited there at the moment when it went out, which is another reason.
    assert scraped.value("kpi_gateway_upstream_retries_total", upstream="content") == before
    assert scraped.value("kpi_gateway_upstream_retries_total", upstream="content", reason="server-error") > 0


async def test_an_address_whose_responses_are_errors_goes_out_although_it_is_ready() -> None:
    pair = Pair()
    async with pair as client:
        await wait_until_only(client, "one", "two")
        # A 500 is not repeated: the request may be the reason.
        pair.one.status = 500
        await wait_until_only(client, "two")
        pair.one.status = 200
        before = pair.one.asked["/health/ready"]
        await wait_for(lambda: pair.one.asked["/health/ready"] > before + 4)
        # Its readiness has never been in doubt, so time alone brings it back.
        assert await get(client, 6) == {"two": 6}


async def test_an_address_that_does_not_respond_goes_out_although_it_is_ready() -> None:
    pair = Pair(upstream_probe_interval=0.5, upstream_read_timeout=0.2)
    async with pair as client:
        await wait_until_only(client, "one", "two")
        pair.one.is_mute = True
        await wait_until_only(client, "two")
        assert pair.one.readiness == 200


async def test_requests_whose_clients_left_take_no_address_out() -> None:
    pair = Pair(upstream_probe_interval=0.3, upstream_read_timeout=60, metrics_port=(port := free_port()))
    async with pair as client:
        await get(client, 30)
        pair.one.is_mute = True
        asked = pair.one.asked["GET"]
        # It gets the next one only after the gateway has noticed that the client of the last one left.
        while pair.one.asked["GET"] < asked + 5:
            before = pair.one.asked["GET"] + pair.two.asked["GET"]
            async with await Wire.to(str(client.base_url)) as wire:
                await wire.send(b"GET /posts HTTP/1.1\r\nHost: a\r\n\r\n")
                await wait_for(lambda before=before: pair.one.asked["GET"] + pair.two.asked["GET"] > before)  # type: ignore[misc]
                reset(wire.writer.transport)
        before = pair.one.asked["/health/ready"]
        await wait_for(lambda: pair.one.asked["/health/ready"] > before + 2)
        scraped = await asyncio.to_thread(Scrape.of, port)
    for url in pair.urls:
        assert scraped.value("kpi_gateway_upstream_removals_total", upstream="content", address=url) == 0


async def test_errors_of_all_addresses_take_none_out() -> None:
    pair = Pair()
    pair.one.status = pair.two.status = 500
    async with pair as client:
        assert await get(client, 60) == {500: 60}
    assert pair.one.asked["GET"] == pair.two.asked["GET"] == 30


@pytest.mark.parametrize(
    ("method", "status", "marked", "times"),
    [
        ("GET", 502, False, 2),
        ("HEAD", 503, False, 2),
        ("OPTIONS", 504, False, 2),
        ("GET", 500, False, 1),
        ("GET", 404, False, 1),
        ("GET", 503, True, 1),
        ("POST", 503, False, 1),
        ("DELETE", 503, False, 1),
    ],
)
async def test_only_a_safe_request_is_repeated_and_only_for_an_error_of_that_address(
    method: str, status: int, marked: bool, times: int
) -> None:
    pair = Pair(upstream_probe_interval=NEVER)
    pair.one.status = pair.two.status = status
    pair.one.headers = pair.two.headers = {"X-Retry-Elsewhere": "no"} if marked else {}
    async with pair as client:
        response = await client.request(method, "/posts")
        assert response.status_code == status
        assert pair.one.asked[method] + pair.two.asked[method] == times
        assert "x-retry-elsewhere" not in response.headers
        assert response.headers.get("retry-after") == ("1" if status > 500 else None)


async def test_a_get_with_effects_or_a_body_is_not_repeated() -> None:
    pair = Pair(
        upstream_probe_interval=NEVER, routes=({"prefix": "/posts", "upstream": "content", "has_effects": True},)
    )
    pair.one.status = pair.two.status = 503
    async with pair as client:
        assert (await client.get("/posts")).status_code == 503
        assert pair.one.asked["GET"] + pair.two.asked["GET"] == 1
    pair = Pair(upstream_probe_interval=NEVER)
    pair.one.status = pair.two.status = 503
    async with pair as client:
        assert (await client.request("GET", "/posts", content=b"x")).status_code == 503
        assert pair.one.asked["GET"] + pair.two.asked["GET"] == 1


async def test_repeated_requests_are_a_small_part_of_all() -> None:
    pair = Pair(upstream_probe_interval=NEVER)
    pair.one.status = pair.two.status = 503
    async with pair as client:
        assert await get(client, 400) == {503: 400}
    # Those of the reserve, and a fifth.
    assert 400 + 50 < pair.one.asked["GET"] + pair.two.asked["GET"] < 400 + 50 + 0.25 * 450


async def test_a_read_that_waits_at_an_address_that_hangs_is_repeated_when_that_goes_out() -> None:
    pair = Pair(upstream_probe_interval=0.2, upstream_read_timeout=60)
    async with pair as client:
        await wait_until_only(client, "one", "two")
        pair.one.hangs = True
        # One of each pair waits where it hangs; the gateway's deadline is too far away to matter.
        reads = await asyncio.gather(*(client.get("/posts") for _ in range(6)))
        assert {response.json() for response in reads} == {"two"}
        assert pair.one.asked["GET"] > 0
        assert await get(client, 6) == {"two": 6}


async def test_a_write_that_waits_at_an_address_that_goes_out_is_not_repeated() -> None:
    pair = Pair(upstream_probe_interval=0.1, upstream_read_timeout=1.5)
    async with pair as client:
        await wait_until_only(client, "one", "two")
        pair.one.hangs = True
        statuses = Counter(
            [each.status_code for each in await asyncio.gather(*(client.post("/posts") for _ in range(2)))]
        )
        assert statuses == {200: 1, 504: 1}
    assert pair.one.asked["POST"] + pair.two.asked["POST"] == 2


async def test_the_service_learns_how_much_time_is_left() -> None:
    seen: list[dict[str, str]] = []

    async def respond(request: Request) -> Response:
        seen.append(dict(request.headers))
        return Response()

    rows = (
        {"prefix": "/posts", "upstream": "content"},
        {"prefix": "/slow", "upstream": "content", "read_timeout": 20},
    )
    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream, routes=rows) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        forged = {"X-Request-Timeout": "1", "X_Request_Timeout": "2", "x-request.timeout": "3"}
        await client.get("/posts", headers=forged)
        await client.post("/slow", content=b"x" * 300_000)
    first, second = seen
    assert [name for name in first if "timeout" in name] == ["x-request-timeout"]
    assert 0 < int(first["x-request-timeout"]) <= 2300
    assert int(second["x-request-timeout"]) == 19_800


async def test_the_deadline_covers_the_wait_for_a_place() -> None:
    hang = asyncio.Event()

    async def respond(_request: Request) -> Response:
        await hang.wait()
        return Response()

    settings: dict[str, Any] = {"upstream_read_timeout": 0.3, "upstream_queue_timeout": 60, "upstream_connections": 1}
    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream, **settings) as address,
        httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as client,
    ):
        statuses = Counter(
            [each.status_code for each in await asyncio.gather(*(client.get("/posts") for _ in range(3)))]
        )
    # One had the place until its deadline, and those that waited had the same deadline.
    assert statuses[504] >= 1
    assert statuses[503] + statuses[504] == 3


async def test_an_abandoned_request_resets_its_connection() -> None:
    ended: asyncio.Future[BaseException | bytes] = asyncio.get_running_loop().create_future()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        try:
            ended.set_result(await reader.read())
        except ConnectionResetError as error:
            ended.set_result(error)
        writer.close()

    async with (
        raw_upstream(handler) as upstream,
        gateway(content_url=upstream, upstream_read_timeout=0.2) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        late = await client.post("/posts", content=b"x")
        async with asyncio.timeout(10):
            assert isinstance(await ended, ConnectionResetError)
    assert (late.status_code, late.json()["type"], late.headers["retry-after"]) == (504, "upstream-timeout", "1")
