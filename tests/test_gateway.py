"""What the gateway adds to, takes from, and refuses of every request, through the three real processes."""

import json
import os
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from kpi_shared.testing.process import PartProcess, launch_part, wait_until
from stack import PASSWORD, Person, Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="these tests start gateways of their own"),
]
API = "/api/v1"
MIB = 1024 * 1024
ROUTES = [
    {"prefix": "/auth", "upstream": "auth"},
    {"prefix": "/users", "upstream": "auth", "body_limit": 200},
    {"prefix": "/posts", "upstream": "content"},
]
HOST = b"Host: a\r\n"


@dataclass(frozen=True)
class Platform:
    """A gateway as in production, behind proxies on this machine, and all that the services log."""

    gateway: PartProcess
    client: httpx.Client
    folder: Path

    def logged(self, part: str, **values: object) -> list[dict[str, object]]:
        """Lines of a part's log with these values."""
        text = (self.folder / f"{part}.log").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [line for line in lines if values.items() <= line.items()]

    def raw(self, data: bytes) -> bytes:
        """All that is answered to these bytes until the gateway closes."""
        with socket.create_connection(("127.0.0.1", self.gateway.port), timeout=30) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="module")
def platform(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    assert stack.auth is not None
    assert stack.content is not None
    assert stack.mails is not None
    settings = {
        "AUTH_URL": stack.auth,
        "CONTENT_URL": stack.content,
        "ROUTES": json.dumps(ROUTES),
        "APP_ENV": "production",
        "TRUSTED_PROXIES": "127.0.0.0/8",
        "RATE_LIMIT_ENABLED": "false",
    }
    log = tmp_path_factory.mktemp("gateway") / "gateway.log"
    with (
        launch_part("kpi_gateway", settings, log=log) as gateway,
        httpx.Client(base_url=gateway.address, timeout=30, trust_env=False) as client,
    ):
        yield Platform(gateway, client, stack.mails.parent)


def test_a_json_body_over_a_mebibyte_is_413(platform: Platform, person: Person) -> None:
    headers = {**person.headers, "Content-Type": "application/json"}
    start = b'{"title": "t", "content": "c", "more": "'
    for length, statuses in ((MIB, {422}), (MIB + 1, {413})):
        body = start + b"x" * (length - len(start) - 2) + b'"}'
        for content in (body, iter((body[:1000], body[1000:]))):
            answer = platform.client.post(f"{API}/posts", content=content, headers=headers)
            assert answer.status_code in statuses
            assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "body-too-large"


def test_a_row_of_the_route_table_has_a_body_limit_of_its_own(platform: Platform) -> None:
    for length, status in ((200, 422), (201, 413)):
        body = b'{"username": "' + b"x" * (length - 16) + b'"}'
        answer = platform.client.post(f"{API}/users", content=body, headers={"Content-Type": "application/json"})
        assert (len(body), answer.status_code) == (length, status)


TOO_LARGE = {
    "headers": (b"GET /posts HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 100 + b"\r\n", 431),
    "bytes": (b"GET /posts HTTP/1.1\r\n" + HOST + b"a: " + b"b" * 65536 + b"\r\n\r\n", 431),
    "address": (b"GET /posts?" + b"a" * 8192 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
}


@pytest.mark.parametrize(("data", "status"), TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_a_head_that_is_too_large_is_refused(platform: Platform, data: bytes, status: int) -> None:
    answer = platform.raw(data)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"\r\ncontent-type: application/problem+json\r\n" in answer


@pytest.mark.parametrize("path", [f"{API}/posts", "/health", "/nowhere", f"{API}/posts/%zz"])
def test_every_answer_has_the_security_headers_an_id_and_its_time(
    platform: Platform, client: httpx.Client, path: str
) -> None:
    answer = platform.client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    for name in ("x-content-type-options", "referrer-policy", "x-request-id", "x-response-time"):
        assert len(answer.headers.get_list(name)) == 1
    assert float(answer.headers["x-response-time"]) >= 0
    assert "server" not in answer.headers
    # Only in production is it certain that TLS stands in front.
    assert "strict-transport-security" not in client.get(path).headers


def test_what_the_server_itself_refuses_has_the_security_headers_too(platform: Platform) -> None:
    answer = platform.raw(b"GET / HTTP/1.1\r\n\r\n").lower()
    assert answer.startswith(b"http/1.1 400 ")
    for line in (b"x-content-type-options: nosniff", b"strict-transport-security: max-age=31536000", b"x-request-id: "):
        assert b"\r\n" + line in answer
    assert b"\r\nserver:" not in answer


@pytest.mark.parametrize("given", ["0123456789abcdef", "A.b_c-9", "x" * 64])
def test_a_safe_request_id_is_the_clients_own_in_every_log(platform: Platform, given: str) -> None:
    answer = platform.client.get(f"{API}/posts/0", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == given
    assert answer.json()["instance"] == given
    wait_until(lambda: bool(platform.logged("content", request_id=given)))


@pytest.mark.parametrize("given", ["x" * 65, "a b", 'a"b', "a;b", "a/b", "", "\xe9"])
def test_an_unsafe_request_id_goes_no_further(platform: Platform, given: str) -> None:
    answer = platform.client.get(f"{API}/posts/0", headers={b"X-Request-ID": given.encode("latin-1")})
    own = answer.headers["x-request-id"]
    assert len(own) == 32
    assert answer.json()["instance"] == own
    wait_until(lambda: bool(platform.logged("content", request_id=own)))


SMUGGLED = b"GET /posts/%s HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /posts HTTP/1.1\r\n" + HOST
SHAPES = {
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 60\r\n\r\n",
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "a folded header": POST + b"X: y\r\n Content-Length: 60\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"POST /posts HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
    "a bare line feed": POST + b"X: y\nContent-Length: 60\r\nContent-Length: 0\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 60\r\n\r\n",
    "a coding that is none": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a signed length": POST + b"Content-Length: +0\r\n\r\n",
    "a chunk's size that is none": POST + b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "a chunk's bare line feed": POST + b"Transfer-Encoding: chunked\r\n\r\n0\n\n",
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_request_with_two_ends_is_refused_and_no_second_one_comes_of_it(platform: Platform, shape: bytes) -> None:
    name = uuid.uuid4().hex
    answer = platform.raw(shape + SMUGGLED % name.encode())
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    # The service logs what it refuses, so this one, which comes later, would stand behind the smuggled one.
    later = uuid.uuid4().hex
    platform.client.get(f"/posts/{later}")
    wait_until(lambda: bool(platform.logged("content", path=f"/posts/{later}")))
    assert not platform.logged("content", path=f"/posts/{name}")


def test_head_is_answered_as_get_without_its_body(platform: Platform, person: Person) -> None:
    body = {"title": "A title", "content": "Some content"}
    written = platform.client.post(f"{API}/posts", json=body, headers=person.headers)
    assert written.status_code == 201, written.text
    path = f"{API}/posts/{written.json()['id']}"
    read = platform.client.get(path, headers={"Accept-Encoding": "identity"})
    head = platform.client.head(path, headers={"Accept-Encoding": "identity"})
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag"):
        assert head.headers[name] == read.headers[name]
    assert platform.client.head(f"{API}/posts/0").status_code == platform.client.get(f"{API}/posts/0").status_code
    request = f"HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\nGET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    head_of_one, _, rest = platform.raw(request.encode()).partition(b"\r\n\r\n")
    assert head_of_one.startswith(b"HTTP/1.1 200 ")
    assert rest.startswith(b"HTTP/1.1 200 ")


# X-Forwarded-For as the gateway gets it, and who that is, when 127.0.0.0/8 are proxies that are trusted.
FORWARDED = {
    ("192.0.2.7",): "192.0.2.7",
    # Whatever stands left of an address that is no proxy's, the client may have written.
    ("203.0.113.9, 192.0.2.7",): "192.0.2.7",
    ("203.0.113.9", "192.0.2.7"): "192.0.2.7",
    ("127.0.0.1, 192.0.2.7",): "192.0.2.7",
    ("192.0.2.7, 127.0.0.9",): "192.0.2.7",
    ("192.0.2.7", "127.0.0.9, ::ffff:127.0.0.8"): "192.0.2.7",
    ("::ffff:192.0.2.7",): "192.0.2.7",
    ("2001:DB8::0:1",): "2001:db8::1",
    ("garbage",): "127.0.0.1",
    ("192.0.2.7, garbage",): "127.0.0.1",
    ("192.0.2.7:1234",): "127.0.0.1",
    ("192.0.2.7,",): "127.0.0.1",
    ("",): "127.0.0.1",
}


def audited(platform: Platform, client: httpx.Client, person: Person, forwarded: tuple[str, ...]) -> object:
    """Where the audit log says that the person signed in from."""
    name = uuid.uuid4().hex
    headers = [("X-Request-ID", name), *(("X-Forwarded-For", value) for value in forwarded)]
    form = {"username": person.username, "password": PASSWORD}
    assert client.post(f"{API}/auth/login", data=form, headers=headers).status_code == 200
    wait_until(lambda: bool(platform.logged("auth", event="audit", request_id=name)))
    (line,) = platform.logged("auth", event="audit", request_id=name)
    return line["address"]


@pytest.mark.parametrize(("forwarded", "address"), FORWARDED.items())
def test_the_audit_log_has_the_address_that_trusted_proxies_tell(
    platform: Platform, person: Person, forwarded: tuple[str, ...], address: str
) -> None:
    assert audited(platform, platform.client, person, forwarded) == address


def test_who_is_no_trusted_proxy_tells_nothing(platform: Platform, client: httpx.Client, person: Person) -> None:
    for forwarded in (("192.0.2.7",), ("::ffff:192.0.2.7", "127.0.0.1")):
        assert audited(platform, client, person, forwarded) == "127.0.0.1"


def test_one_client_has_one_limit_in_all_forms_of_its_address(stack: Stack, tmp_path: Path) -> None:
    assert stack.content is not None
    limits = {"RATE_LIMIT_REQUESTS": "2", "RATE_LIMIT_WINDOW": "86400", "TRUSTED_PROXIES": "127.0.0.0/8"}
    with (
        launch_part("kpi_gateway", {"CONTENT_URL": stack.content, **limits}, log=tmp_path / "gateway.log") as part,
        httpx.Client(base_url=part.address, timeout=30, trust_env=False) as client,
    ):

        def read(*addresses: str) -> list[int]:
            headers = [{"X-Forwarded-For": address} for address in addresses]
            return [client.get(f"{API}/posts", headers=one).status_code for one in headers]

        assert read("192.0.2.7", "::ffff:192.0.2.7", "203.0.113.1, ::FFFF:c000:207") == [200, 200, 429]
        assert read("2001:db8::1", "2001:db8::ffff", "2001:db8:0:0:1::") == [200, 200, 429]
        assert read("2001:db8:0:1::1", "192.0.2.8") == [200, 200]
        # What is no address is the proxy's own request.
        assert read("a", "192.0.2.9, b", "") == [200, 200, 429]
