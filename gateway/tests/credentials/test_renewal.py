"""A service refuses the token of a valid key, since the owner of the key has changed: the gateway gets another one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from credential_support import Setup, header, keyed_gateway, make_key, problem
from gateway_support import responding, serving
from kpi_gateway.credentials import memory
from kpi_shared.testing.process import free_port
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

pytestmark = pytest.mark.anyio

CHALLENGE = 'Bearer realm="kpi-one", error="invalid_token"'
# More than the gateway receives before it involves the service.
PART = b"x" * 200_000


@dataclass
class Service:
    """Refuses the tokens that ``refuses`` says, with ``challenge``; ``seen`` has token and body of each request."""

    refuses: Callable[[str], bool] = lambda _: False
    challenge: str = CHALLENGE
    refusal: Response | None = None
    seen: list[tuple[str, bytes]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    timeouts: list[int] = field(default_factory=list)
    has_head: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def tokens(self) -> list[str]:
        return [token for token, _ in self.seen]

    async def respond(self, request: Request) -> Response:
        token = request.headers["authorization"].removeprefix("Bearer ")
        self.timeouts.append(int(request.headers["x-request-timeout"]))
        self.has_head.set()
        self.seen.append((token, await request.body()))
        is_refused = self.refuses(token)
        await self.gate.wait()
        if is_refused:
            refusal = self.refusal or problem(401, "unauthenticated")
            refusal.headers["WWW-Authenticate"] = self.challenge
            return refusal
        return Response("done")


@dataclass
class Renewing(Setup):
    service: Service


@asynccontextmanager
async def renewing_gateway(**settings: object) -> AsyncIterator[Renewing]:
    service = Service()
    service.gate.set()
    async with (
        serving(responding(service.respond)) as url,
        keyed_gateway(auth_url=url, content_url=url, **settings) as setup,
    ):
        yield Renewing(setup.auth, setup.echo, setup.client, service)


@pytest.fixture
async def renewing() -> AsyncIterator[Renewing]:
    async with renewing_gateway() as found:
        yield found


def refuse_first(renewing: Renewing) -> None:
    renewing.service.refuses = lambda token: token == "v4.local.1"


def type_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["type"]


async def never_end() -> AsyncIterator[bytes]:
    yield b"a part"
    await asyncio.Event().wait()


async def upload(service: Service) -> AsyncIterator[bytes]:
    service.has_head.clear()
    yield PART
    await service.has_head.wait()
    yield b"end"


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("POST", b"a body"), ("DELETE", b"")])
async def test_a_refused_token_is_replaced_within_the_request(renewing: Renewing, method: str, body: bytes) -> None:
    key = make_key()
    assert (await renewing.client.get("/posts", headers=header(key))).status_code == 200
    refuse_first(renewing)
    for _ in range(2):
        response = await renewing.client.request(method, "/posts", headers=header(key), content=body)
        assert (response.status_code, response.text) == (200, "done")
        assert "X-API-Key" in response.headers["vary"]
    old, new = "v4.local.1", "v4.local.2"
    assert renewing.service.seen == [(old, b""), (old, body), (new, body), (new, body)]
    assert renewing.auth.exchanged == [key, key]


async def test_each_change_of_the_owner_is_noticed(renewing: Renewing) -> None:
    key = make_key()
    await renewing.client.get("/posts", headers=header(key))
    for number in range(1, 5):
        renewing.service.refuses = lambda token, number=number: int(token.rpartition(".")[2]) <= number  # type: ignore[misc]
        assert (await renewing.client.get("/posts", headers=header(key))).status_code == 200
    assert len(renewing.auth.exchanged) == 5


async def test_a_burst_of_refusals_makes_one_exchange(renewing: Renewing) -> None:
    key = make_key()
    await renewing.client.get("/posts", headers=header(key))
    refuse_first(renewing)
    renewing.service.gate.clear()
    burst = [asyncio.create_task(renewing.client.get("/posts", headers=header(key))) for _ in range(20)]
    while len(renewing.service.seen) < 21:  # noqa: ASYNC110 the stand-in has no event for it
        await asyncio.sleep(0.01)
    renewing.service.gate.set()
    assert {response.status_code for response in await asyncio.gather(*burst)} == {200}
    assert len(renewing.auth.exchanged) == 2
    assert len(renewing.service.seen) == 41


async def test_a_refusal_that_comes_late_makes_no_exchange(renewing: Renewing) -> None:
    key = make_key()
    await renewing.client.get("/posts", headers=header(key))
    refuse_first(renewing)
    late = renewing.service.gate = asyncio.Event()
    held = asyncio.create_task(renewing.client.get("/posts", headers=header(key)))
    while len(renewing.service.seen) < 2:  # noqa: ASYNC110 the stand-in has no event for it
        await asyncio.sleep(0.01)
    renewing.service.gate = asyncio.Event()
    renewing.service.gate.set()
    assert (await renewing.client.get("/posts", headers=header(key))).status_code == 200
    late.set()
    assert (await held).status_code == 200
    assert renewing.auth.exchanged == [key, key]


async def test_a_key_that_has_ended_is_an_invalid_key(renewing: Renewing) -> None:
    key = make_key()
    await renewing.client.get("/posts", headers=header(key))
    refuse_first(renewing)
    renewing.auth.response = problem(401, "invalid-api-key")
    for _ in range(2):
        refused = await renewing.client.get("/posts", headers=header(key))
        assert type_of(refused) == (401, "invalid-api-key")
    assert len(renewing.service.seen) == 2
    assert len(renewing.auth.exchanged) == 2


async def test_without_auth_it_is_not_known_whether_the_key_is_valid(renewing: Renewing) -> None:
    key = make_key()
    await renewing.client.get("/posts", headers=header(key))
    refuse_first(renewing)
    renewing.auth.response = problem(503, "unavailable")
    refused = await renewing.client.get("/posts", headers=header(key))
    assert type_of(refused) == (503, "api-keys-unavailable")
    renewing.auth.response = None
    assert (await renewing.client.get("/posts", headers=header(key))).status_code == 200


async def test_networks_of_the_key_that_have_changed_apply(renewing: Renewing) -> None:
    key = make_key()
    await renewing.client.get("/posts", headers=header(key))
    refuse_first(renewing)
    renewing.auth.grant = {"allowed_networks": ["192.0.2.0/24"]}
    refused = await renewing.client.get("/posts", headers=header(key))
    assert type_of(refused) == (403, "network-not-allowed")
    assert len(renewing.service.seen) == 2


async def test_a_token_that_is_always_refused_makes_no_flood(
    renewing: Renewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key()
    renewing.service.refuses = lambda _: True
    for _ in range(3):
        refused = await renewing.client.get("/posts", headers=header(key))
        assert type_of(refused) == (401, "unauthenticated")
    assert renewing.service.tokens == ["v4.local.1", *["v4.local.2"] * 3]
    # After a while another exchange may help.
    monkeypatch.setattr(memory, "_UNPROVEN_SECONDS", 0.0)
    renewing.service.refuses = lambda token: token == "v4.local.2"
    async with asyncio.timeout(10):
        while (await renewing.client.get("/posts", headers=header(key))).status_code != 200:  # noqa: ASYNC110 as above
            await asyncio.sleep(0.05)
    assert len(renewing.auth.exchanged) == 3


async def test_a_streamed_body_is_not_repeated_and_the_next_request_has_a_new_token(renewing: Renewing) -> None:
    key = make_key()
    await renewing.client.get("/posts", headers=header(key))
    refuse_first(renewing)
    refused = await renewing.client.post("/posts", headers=header(key), content=upload(renewing.service))
    assert type_of(refused) == (401, "unauthenticated")
    created = await renewing.client.post("/posts", headers=header(key), content=upload(renewing.service))
    assert created.status_code == 200
    old, new = "v4.local.1", "v4.local.2"
    assert renewing.service.seen == [(old, b""), (old, PART + b"end"), (new, PART + b"end")]


@pytest.mark.parametrize("challenge", ['Bearer realm="kpi-one"', "Basic"])
async def test_another_401_is_the_services_own(renewing: Renewing, challenge: str) -> None:
    renewing.service.challenge = challenge
    renewing.service.refuses = lambda _: True
    assert (await renewing.client.get("/posts", headers=header(make_key()))).status_code == 401
    assert len(renewing.auth.exchanged) == len(renewing.service.seen) == 1


async def test_a_refused_token_of_a_person_is_no_matter_of_the_gateway(renewing: Renewing) -> None:
    renewing.service.refuses = lambda _: True
    refused = await renewing.client.get("/posts", headers={"Authorization": "Bearer v4.local.x"})
    assert refused.status_code == 401
    assert renewing.service.tokens == ["v4.local.x"]
    assert renewing.auth.exchanged == []


async def test_a_repeated_request_has_one_place_and_counts_once() -> None:
    async with renewing_gateway(
        upstream_connections=1, upstream_connections_per_client=1, rate_limit_enabled=True, rate_limit_requests=10
    ) as renewing:
        key = make_key()
        first = await renewing.client.get("/posts", headers=header(key))
        refuse_first(renewing)
        renewing.service.refusal = StreamingResponse(never_end(), 401)
        second = await renewing.client.get("/posts", headers=header(key))
        assert [each.status_code for each in (first, second)] == [200, 200]
        assert [each.headers["x-ratelimit-remaining"] for each in (first, second)] == ["9", "8"]


async def test_all_of_it_has_the_time_of_one_request() -> None:
    async with renewing_gateway(upstream_read_timeout=5) as renewing:
        key = make_key()
        await renewing.client.get("/posts", headers=header(key))
        refuse_first(renewing)
        renewing.service.gate.clear()
        waiting = asyncio.create_task(renewing.client.get("/posts", headers=header(key)))
        await asyncio.sleep(0.5)
        renewing.service.gate.set()
        assert (await waiting).status_code == 200
        assert 0 < renewing.service.timeouts[2] <= 4500 < renewing.service.timeouts[1]


async def test_an_auth_that_stands_still_does_not_hold_a_refused_request() -> None:
    async with renewing_gateway(upstream_read_timeout=0.5) as renewing:
        key = make_key()
        await renewing.client.get("/posts", headers=header(key))
        refuse_first(renewing)
        renewing.auth.gate.clear()
        refused = await renewing.client.get("/posts", headers=header(key))
        assert type_of(refused) == (503, "api-keys-unavailable")
        renewing.auth.gate.set()


async def test_a_metric_counts_the_tokens_that_were_replaced() -> None:
    port = free_port()
    async with renewing_gateway(metrics_port=port) as renewing:
        key = make_key()
        await renewing.client.get("/posts", headers=header(key))
        refuse_first(renewing)
        await renewing.client.get("/posts", headers=header(key))
        metrics = (await renewing.client.get(f"http://127.0.0.1:{port}/metrics")).text
    for outcome in ("exchanged", "cached", "renewed"):
        assert f'kpi_gateway_key_requests_total{{outcome="{outcome}"}} 1.0' in metrics
