"""What holds for the driver against a real server, and for the fake."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from faulty_server import Connection, FaultyServer, respond, serving
from kpi_kit.errors import AlreadyOpenError
from kpi_kit.http import (
    CircuitOpenError,
    CircuitState,
    ConnectionFailedError,
    HttpClient,
    HttpFake,
    HttpValueError,
    Limits,
    RedirectError,
    ResponseFormatError,
    ResponseTooLargeError,
    StatusError,
    UnavailableStatusError,
)
from opening_support import open_anew
from pydantic import BaseModel, SecretStr, ValidationError

LIMITS = Limits(first_wait=0, longest_wait=0, jitter=0, max_body_bytes=1000, open_after=5)


class Post(BaseModel):
    id: int
    tags: list[str] = []


@dataclass
class Peer:
    """The other side, real or not: responses for one method and path, in their order, and what was sent."""

    client: HttpClient
    answer: Callable[..., None]
    break_off: Callable[[str, str], None]
    sent: Callable[[], list[tuple[str, str, bytes, dict[str, str]]]]

    @property
    def targets(self) -> list[str]:
        return [f"{method} {target}" for method, target, _, _ in self.sent()]


@asynccontextmanager
async def open_real(limits: Limits) -> AsyncIterator[Peer]:
    async with serving() as server, HttpClient.from_url(server.url, limits=limits) as client:

        def answer(method: str, path: str, *, status: int = 200, json: object = None, **rest: object) -> None:
            body = globals()["json"].dumps(json).encode() if json is not None else rest.get("content", b"")
            headers = {name.replace("-", "_"): value for name, value in dict(rest.get("headers", {})).items()}
            server.behaviours.append(respond(status, body, **headers))

        def break_off(method: str, path: str) -> None:
            async def reset(connection: Connection) -> None:
                connection.reset()

            server.behaviours.append(reset)

        yield Peer(client, answer, break_off, lambda: read_requests(server))


def read_requests(server: FaultyServer) -> list[tuple[str, str, bytes, dict[str, str]]]:
    found = []
    for each in server.requests:
        line, *fields = each.head.decode().strip().split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        found.append((method, target, each.body, headers))
    return found


@asynccontextmanager
async def open_fake(limits: Limits) -> AsyncIterator[Peer]:
    async with HttpFake(limits=limits) as client:
        yield Peer(
            client,
            client.answer,
            client.fail,
            lambda: [(each.method, each.target, each.content, dict(each.headers)) for each in client.sent],
        )


@pytest.fixture(params=[open_real, open_fake], ids=["httpx", "fake"])
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[Peer]:
    async with request.param(LIMITS) as found:
        yield found


async def test_json_goes_out_and_comes_in_as_the_type_that_was_asked_for(peer: Peer) -> None:
    peer.answer("POST", "/posts", status=201, json={"id": 7, "tags": ["a"]})
    assert await peer.client.post_json("/posts", Post(id=7), Post) == Post(id=7, tags=["a"])
    method, target, body, headers = peer.sent()[0]
    assert (method, target, json.loads(body)) == ("POST", "/posts", {"id": 7, "tags": []})
    assert headers["content-type"] == "application/json"
    peer.answer("GET", "/posts", json=[{"id": 1}])
    assert await peer.client.get_json("/posts", list[Post]) == [Post(id=1)]
    peer.answer("PUT", "/posts/1", json={"any": [None]})
    assert await peer.client.put_json("/posts/1", {"id": 1}) == {"any": [None]}
    peer.answer("PATCH", "/posts/1", status=204)
    assert await peer.client.patch_json("/posts/1", {"id": 2}) is None


async def test_parameters_become_the_query_and_paths_are_encoded(peer: Peer) -> None:
    peer.answer("GET", "/a%20b")
    response = await peer.client.get("/a b", params={"q": "x&y", "tags": ["a", "b"], "on": True, "no": None})
    assert (response.status, response.content) == (200, b"")
    assert peer.targets == ["GET /a%20b?q=x%26y&tags=a&tags=b&on=true"]


async def test_derived_clients_send_their_headers_over_the_same_connections(peer: Peer) -> None:
    peer.answer("GET", "/", json=1)
    peer.answer("GET", "/", json=1)
    peer.answer("GET", "/", json=1)
    await peer.client.with_token(SecretStr("hunter2")).get_json("/")
    await peer.client.with_basic_auth("name", "hunter2").with_headers({"X-Tenant": "a"}).get("/", headers={"X-B": "b"})
    await peer.client.get_json("/")
    first, second, third = (headers for *_, headers in peer.sent())
    assert first["authorization"] == "Bearer hunter2"
    assert (second["authorization"], second["x-tenant"], second["x-b"]) == ("Basic bmFtZTpodW50ZXIy", "a", "b")
    assert {"authorization", "x-tenant"}.isdisjoint(third)


async def test_a_status_is_an_error_with_its_problem_and_without_the_body_in_its_text(peer: Peer) -> None:
    problem = {"type": "post-locked", "title": "Locked", "status": 409, "detail": "hunter2", "by": "eve"}
    body = json.dumps(problem).encode()
    peer.answer("GET", "/x", status=409, content=body, headers={"content-type": "application/problem+json; a=b"})
    with pytest.raises(StatusError) as caught:
        await peer.client.get_json("/x", params={"key": "hunter2"})
    error = caught.value
    assert (error.status, error.method) == (409, "GET")
    assert error.problem is not None
    assert (error.problem.type, error.problem.detail) == ("post-locked", "hunter2")
    assert error.problem.model_extra == {"by": "eve"}
    assert "409 Conflict" in str(error)
    assert "hunter2" not in f"{error} {error!r} {error.response!r}"
    assert len(peer.targets) == 1


async def test_an_error_page_has_no_problem(peer: Peer) -> None:
    peer.answer("GET", "/x", status=404, content=b"{}", headers={"content-type": "text/html"})
    with pytest.raises(StatusError) as caught:
        await peer.client.get("/x")
    assert caught.value.problem is None
    peer.answer("GET", "/y", status=404, content=b"no JSON", headers={"content-type": "application/problem+json"})
    with pytest.raises(StatusError) as caught:
        await peer.client.get("/y")
    assert caught.value.problem is None


@pytest.mark.parametrize("body", [b"", b"<html>hunter2", b'{"id": "hunter2"}', b'{"id": 1, "tags": {"hunter2": 1}}'])
async def test_a_body_of_another_form_is_an_error_that_does_not_quote_it(peer: Peer, body: bytes) -> None:
    peer.answer("GET", "/x", content=body)
    with pytest.raises(ResponseFormatError) as caught:
        await peer.client.get_json("/x", Post)
    error = caught.value
    assert "hunter2" not in f"{error} {error!r}"
    assert error.__suppress_context__
    assert isinstance(error.__context__, ValidationError)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
async def test_what_can_do_no_harm_is_sent_again(peer: Peer, method: str, status: int) -> None:
    peer.answer(method, "/x", status=status)
    peer.break_off(method, "/x")
    peer.answer(method, "/x", status=200)
    assert (await peer.client.request(method, "/x")).status == 200
    assert peer.targets == [f"{method} /x"] * 3


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_could_have_its_effect_twice_is_never_sent_again(peer: Peer, method: str) -> None:
    peer.answer(method, "/x", status=503)
    with pytest.raises(UnavailableStatusError):
        await peer.client.request(method, "/x", json={})
    peer.break_off(method, "/x")
    peer.answer(method, "/x", status=200)
    with pytest.raises(ConnectionFailedError):
        await peer.client.request(method, "/x", json={})
    assert peer.targets == [f"{method} /x"] * 2


async def test_with_a_key_it_is_sent_again_with_the_same_key(peer: Peer) -> None:
    peer.answer("POST", "/x", status=503)
    peer.break_off("POST", "/x")
    peer.answer("POST", "/x", json=1)
    assert await peer.client.post_json("/x", {}, int, idempotency_key="k1") == 1
    assert [headers["idempotency-key"] for *_, headers in peer.sent()] == ["k1"] * 3


@pytest.mark.parametrize("status", [400, 401, 404, 409, 500, 501])
async def test_other_statuses_are_final(peer: Peer, status: int) -> None:
    peer.answer("GET", "/x", status=status)
    with pytest.raises(StatusError):
        await peer.client.get("/x")
    assert len(peer.targets) == 1


async def test_attempts_are_counted_and_the_last_error_is_raised(peer: Peer) -> None:
    for status in (502, 503, 504):
        peer.answer("GET", "/x", status=status)
    with pytest.raises(UnavailableStatusError, match="504"):
        await peer.client.get("/x")
    assert len(peer.targets) == 3


async def test_a_wait_beyond_the_deadline_is_not_begun(peer: Peer) -> None:
    peer.answer("GET", "/x", status=429, headers={"retry-after": "3600"})
    with pytest.raises(UnavailableStatusError) as caught:
        await peer.client.get("/x")
    assert caught.value.retry_after == 3600
    assert len(peer.targets) == 1


async def test_after_failures_in_a_row_nothing_is_sent(peer: Peer) -> None:
    for _ in range(5):
        peer.answer("POST", "/x", status=503)
        with pytest.raises(UnavailableStatusError):
            await peer.client.request("POST", "/x")
    assert peer.client.circuit is CircuitState.OPEN
    with pytest.raises(CircuitOpenError) as caught:
        await peer.client.with_token("a").get("/x")
    assert 0 < (caught.value.retry_after or 0) <= LIMITS.open_for
    assert len(peer.targets) == 5


async def test_clients_at_fault_do_not_open_the_circuit(peer: Peer) -> None:
    for status in (408, 429, 404, 429, 400, 408, 500, 429):
        peer.answer("POST", "/x", status=status)
        with pytest.raises(StatusError):
            await peer.client.request("POST", "/x")
    for _ in range(LIMITS.open_after):
        with pytest.raises(HttpValueError, match="the method is not"):
            await peer.client.request("GE T", "/x")
    assert peer.client.circuit is CircuitState.CLOSED


async def test_a_large_body_is_refused(peer: Peer) -> None:
    peer.answer("GET", "/x", content=b"x" * 1000)
    assert len((await peer.client.get("/x")).content) == 1000
    peer.answer("GET", "/y", content=b"x" * 1001)
    with pytest.raises(ResponseTooLargeError):
        await peer.client.get("/y")


async def test_a_redirect_at_the_same_origin_is_followed(peer: Peer) -> None:
    peer.answer("GET", "/old/x", status=307, headers={"location": "../new?a=1#part"})
    peer.answer("GET", "/new", json=1)
    assert await peer.client.with_token("a").get_json("/old/x") == 1
    assert peer.targets == ["GET /old/x", "GET /new?a=1"]
    assert [headers["authorization"] for *_, headers in peer.sent()] == ["Bearer a"] * 2


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example/x",
        "//evil.example/x",
        "https://127.0.0.1:1/x",
        "ftp://fake.test/x",
        "https://fake.test@evil.example/",
        "https://fake.test:99999/",
        "http://[::1/",
    ],
)
async def test_credentials_go_to_no_other_origin(peer: Peer, place: str) -> None:
    peer.answer("GET", "/x", status=302, headers={"location": place})
    with pytest.raises(RedirectError) as caught:
        await peer.client.with_token("hunter2").get("/x")
    assert caught.value.status == 302
    assert "evil" not in str(caught.value)
    assert peer.targets == ["GET /x"]


async def test_a_redirect_of_a_post_is_not_followed(peer: Peer) -> None:
    peer.answer("POST", "/x", status=308, headers={"location": "/y"})
    with pytest.raises(RedirectError):
        await peer.client.request("POST", "/x")
    assert peer.targets == ["POST /x"]


async def test_a_circle_of_redirects_ends(peer: Peer) -> None:
    for _ in range(4):
        peer.answer("GET", "/x", status=302, headers={"location": "/x"})
    with pytest.raises(RedirectError):
        await peer.client.get("/x")
    assert peer.targets == ["GET /x"] * 4


PATHS = [
    "x",
    "//evil.example/x",
    "/a/../b",
    "/%2e%2E/b",
    "/a\\..\\b",
    "/a?b=c",
    "/a#b",
    "/a\r\nHost: b",
    "/.",
    "/\ud800",
]
# Some servers decode separators before they resolve dots, and some take parameters (;) off a segment.
PATHS += ["/a/..%2f..%2Fb", "/a/%2e%2e%2fb", "/a/..%5cb", "/a/..;/b", "/a/%2E%2e%3bx=1/b", "/a/.;/b"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_made_of_values_stays_a_path(peer: Peer, path: str) -> None:
    with pytest.raises(HttpValueError, match="a path"):
        await peer.client.get(path)
    assert peer.targets == []
    peer.answer("GET", "/a..b/..c%2Fd;e")
    await peer.client.get("/a..b/..c%2Fd;e")


async def test_half_a_character_is_not_sent(peer: Peer) -> None:
    for call in (peer.client.get("/x", params={"a": "\ud800"}), peer.client.post_json("/x", {"a": "\ud800"})):
        with pytest.raises(HttpValueError, match="half of a surrogate pair") as caught:
            await call
        assert type(caught.value) is HttpValueError
    with pytest.raises(HttpValueError, match="object"):
        await peer.client.post_json("/x", object())
    assert peer.targets == []


@pytest.mark.parametrize("headers", [{"X-A": "hunter2\r\nX-B: b"}, {"X A": "hunter2"}, {"Host": "hunter2"}, {"X": "ö"}])
async def test_a_header_cannot_begin_another_one(peer: Peer, headers: dict[str, str]) -> None:
    with pytest.raises(HttpValueError, match="header field") as caught:
        await peer.client.get("/x", headers=headers)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(HttpValueError, match="header field"):
        peer.client.with_headers(headers)
    assert peer.targets == []


async def test_it_is_opened_again_after_it_is_closed(peer: Peer) -> None:
    for _ in range(4):
        peer.answer("GET", "/a", json={"id": 1})
    with pytest.raises(AlreadyOpenError):
        await peer.client.with_token("a").__aenter__()
    await open_anew(peer.client, lambda: peer.client.get("/a"))
    assert peer.targets == ["GET /a"] * 4
