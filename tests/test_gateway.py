"""What the gateway adds, removes and refuses, through the three real processes."""

import json
import os
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from kpi_shared.testing.process import PartProcess, launch_part, read_log, wait_until
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
    """A gateway as in production, behind trusted proxies on this machine, and the logs of the services."""

    gateway: PartProcess
    client: httpx.Client
    folder: Path

    def log_lines(self, part: str, **values: object) -> list[dict[str, object]]:
        """The lines of a part's log that have these values."""
        return read_log(self.folder / f"{part}.log", **values)

    def send_raw(self, data: bytes) -> bytes:
        """Send these bytes and return all that the gateway sends until it closes the connection."""
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
            response = platform.client.post(f"{API}/posts", content=content, headers=headers)
            assert response.status_code in statuses
            assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "body-too-large"


def test_a_row_of_the_route_table_has_a_body_limit_of_its_own(platform: Platform) -> None:
    for length, status in ((200, 422), (201, 413)):
        body = b'{"username": "' + b"x" * (length - 16) + b'"}'
        response = platform.client.post(f"{API}/users", content=body, headers={"Content-Type": "application/json"})
        assert (len(body), response.status_code) == (length, status)


TOO_LARGE = {
    "headers": (b"GET /posts HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 100 + b"\r\n", 431),
    "bytes": (b"GET /posts HTTP/1.1\r\n" + HOST + b"a: " + b"b" * 65536 + b"\r\n\r\n", 431),
    "address": (b"GET /posts?" + b"a" * 8192 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
}


@pytest.mark.parametrize(("data", "status"), TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_a_head_that_is_too_large_is_refused(platform: Platform, data: bytes, status: int) -> None:
    response = platform.send_raw(data)
    assert response.startswith(b"HTTP/1.1 %d " % status), response
    assert b"\r\ncontent-type: application/problem+json\r\n" in response


@pytest.mark.parametrize("path", [f"{API}/posts", "/health", "/nowhere", f"{API}/posts/%zz"])
def test_every_response_has_security_headers_an_id_and_its_time(
    platform: Platform, client: httpx.Client, path: str
) -> None:
    response = platform.client.get(path)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    for name in ("x-content-type-options", "referrer-policy", "x-request-id", "x-response-time"):
        assert len(response.headers.get_list(name)) == 1
    assert float(response.headers["x-response-time"]) >= 0
    assert "server" not in response.headers
    # Only in production is TLS guaranteed.
    assert "strict-transport-security" not in client.get(path).headers


def test_refusals_of_the_server_itself_have_the_security_headers_too(platform: Platform) -> None:
    response = platform.send_raw(b"GET / HTTP/1.1\r\n\r\n").lower()
    assert response.startswith(b"http/1.1 400 ")
    for line in (b"x-content-type-options: nosniff", b"strict-transport-security: max-age=31536000", b"x-request-id: "):
        assert b"\r\n" + line in response
    assert b"\r\nserver:" not in response


@pytest.mark.parametrize("given", ["0123456789abcdef", "A.b_c-9", "x" * 64])
def test_a_safe_request_id_of_the_client_is_in_every_log(platform: Platform, given: str) -> None:
    response = platform.client.get(f"{API}/posts/0", headers={"X-Request-ID": given})
    assert response.headers["x-request-id"] == given
    assert response.json()["instance"] == given
    wait_until(lambda: bool(platform.log_lines("content", request_id=given)))


@pytest.mark.parametrize("given", ["x" * 65, "a b", 'a"b', "a;b", "a/b", "", "\xe9"])
def test_an_unsafe_request_id_is_replaced(platform: Platform, given: str) -> None:
    response = platform.client.get(f"{API}/posts/0", headers={b"X-Request-ID": given.encode("latin-1")})
    own = response.headers["x-request-id"]
    assert len(own) == 32
    assert response.json()["instance"] == own
    wait_until(lambda: bool(platform.log_lines("content", request_id=own)))


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
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a signed length": POST + b"Content-Length: +0\r\n\r\n",
    "an invalid chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "a chunk's bare line feed": POST + b"Transfer-Encoding: chunked\r\n\r\n0\n\n",
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_an_ambiguous_request_is_refused_and_smuggles_no_second_one(platform: Platform, shape: bytes) -> None:
    name = uuid.uuid4().hex
    response = platform.send_raw(shape + SMUGGLED % name.encode())
    assert response.startswith(b"HTTP/1.1 400 "), response
    assert response.count(b"HTTP/1.1 ") == 1
    # The service logs refusals in order, so a smuggled request would be logged before this later one.
    later = uuid.uuid4().hex
    platform.client.get(f"/posts/{later}")
    wait_until(lambda: bool(platform.log_lines("content", path=f"/posts/{later}")))
    assert not platform.log_lines("content", path=f"/posts/{name}")


def test_head_gets_the_response_to_get_without_its_body(platform: Platform, person: Person) -> None:
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
    head_of_one, _, rest = platform.send_raw(request.encode()).partition(b"\r\n\r\n")
    assert head_of_one.startswith(b"HTTP/1.1 200 ")
    assert rest.startswith(b"HTTP/1.1 200 ")


# X-Forwarded-For as the gateway receives it, and the client's address that results with 127.0.0.0/8 as trusted proxies.
FORWARDED = {
    ("192.0.2.7",): "192.0.2.7",
    # Anything to the left of an address that is not a trusted proxy may have been written by the client.
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


def audited_address(platform: Platform, client: httpx.Client, person: Person, forwarded: tuple[str, ...]) -> object:
    """Sign in, and return the client's address in the audit log."""
    name = uuid.uuid4().hex
    headers = [("X-Request-ID", name), *(("X-Forwarded-For", value) for value in forwarded)]
    form = {"username": person.username, "password": PASSWORD}
    assert client.post(f"{API}/auth/login", data=form, headers=headers).status_code == 200
    wait_until(lambda: bool(platform.log_lines("auth", event="audit", request_id=name)))
    (line,) = platform.log_lines("auth", event="audit", request_id=name)
    return line["address"]


@pytest.mark.parametrize(("forwarded", "address"), FORWARDED.items())
def test_the_audit_log_has_the_address_that_trusted_proxies_report(
    platform: Platform, person: Person, forwarded: tuple[str, ...], address: str
) -> None:
    assert audited_address(platform, platform.client, person, forwarded) == address


def test_forwarded_addresses_of_untrusted_clients_are_ignored(
    platform: Platform, client: httpx.Client, person: Person
) -> None:
    for forwarded in (("192.0.2.7",), ("::ffff:192.0.2.7", "127.0.0.1")):
        assert audited_address(platform, client, person, forwarded) == "127.0.0.1"


def test_all_spellings_of_an_address_share_one_limit(stack: Stack, tmp_path: Path) -> None:
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
        # If the entry is not an address, the request is counted for the proxy.
        assert read("a", "192.0.2.9, b", "") == [200, 200, 429]
