"""No request through the gateway causes a 500, and forged tokens and headers are refused or ignored."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from stack import Person

pytestmark = pytest.mark.e2e
HUGE = str(2**63)


def is_problem(response: httpx.Response, *statuses: int) -> bool:
    assert response.status_code in statuses, f"{response.status_code}: {response.text[:300]}"
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["instance"] == response.headers["x-request-id"]
    return {"type", "title", "status", "detail", "instance"} <= set(problem)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/posts?limit=-1",
        "/api/v1/posts?limit=101",
        "/api/v1/posts?skip=-1",
        f"/api/v1/posts?skip={HUGE}",
        "/api/v1/posts?sort=worst",
        "/api/v1/posts?cursor=forged",
        "/api/v1/posts?cursor=%00",
        "/api/v1/posts?cursor=eyJzb3J0IjoibmV3In0",
        "/api/v1/posts?search=%00",
        f"/api/v1/posts?search={'a' * 5000}",
        "/api/v1/posts?mine=perhaps",
        f"/api/v1/posts/{HUGE}",
        "/api/v1/posts/0",
        "/api/v1/posts/one",
    ],
)
def test_a_bad_query_is_a_problem(client: httpx.Client, path: str) -> None:
    assert is_problem(client.get(path), 400, 422)


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/posts/999999999999", "/api/v2/posts", "/nothing"])
def test_an_unknown_address_is_a_problem(client: httpx.Client, path: str) -> None:
    assert is_problem(client.get(path), 404)


@pytest.mark.parametrize("path", ["/api/v1/users", "/api/v1/auth/login", "/api/v1/posts", "/api/v1/votes"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"title": "\xff\xfe", "content": ""}',
        b'{"title": "\\u0000", "content": "\\u0000", "post_id": 1, "direction": 2}',
        b'{"title": "\\ud800", "content": "x", "username": "\\ud800", "password": "\\ud800\\ud800\\ud800aaaaa"}',
        b'{"title": 1, "content": [], "post_id": 9223372036854775808, "direction": 1}',
        b'{"title": 1, "content": [], "post_id": 1e400, "direction": true}',
        b"[" * 200_000,
        b'{"a": ' + b"9" * 100_000 + b"}",
    ],
)
def test_a_bad_body_is_a_problem(client: httpx.Client, person: Person, path: str, body: bytes) -> None:
    headers = {**person.headers, "Content-Type": "application/json"}
    assert is_problem(client.post(path, content=body, headers=headers), 400, 404, 422)


def test_a_huge_body_is_a_problem(client: httpx.Client, person: Person) -> None:
    def chunks() -> Iterator[bytes]:
        yield from (b"x" * 65536 for _ in range(64))

    headers = {**person.headers, "Content-Type": "application/json"}
    for content in (b"x" * (4 * 1024 * 1024), chunks()):
        assert is_problem(client.post("/api/v1/posts", content=content, headers=headers), 413)


def test_altered_tokens_are_refused_with_a_challenge(client: httpx.Client, person: Person) -> None:
    token = person.token
    altered = [
        token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :] for place in range(len(token))
    ]
    altered += [token + "=", token + ".", token[:-1], token.replace("v4.local", "v3.local"), token.split(".", 3)[2]]
    for other in altered:
        response = client.post("/api/v1/posts", json={}, headers={"Authorization": f"Bearer {other}"})
        assert is_problem(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_a_header_of_ten_megabytes_is_a_problem(client: httpx.Client) -> None:
    address = urlsplit(str(client.base_url))
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(b"GET /api/v1/auth/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ")
        connection.sendall(b"a" * 10_000_000 + b"\r\n\r\n")
        response = b"".join(iter(lambda: connection.recv(65536), b""))
    assert response.startswith(b"HTTP/1.1 431 ")
    assert b"content-type: application/problem+json" in response.lower()


def test_identity_headers_of_a_client_are_ignored(client: httpx.Client) -> None:
    forged = {"X-User-Id": "1", "X_User_Id": "1", "X-Forwarded-User": "1", "X-Subject": "1", "X-Role": "admin"}
    assert is_problem(client.get("/api/v1/auth/me", headers=forged), 401)


@pytest.mark.parametrize("path", ["/api/v1/posts/..%2f..%2fhealth", "/api/v1/posts/%2e%2e/users", "/api/v1/posts/%zz"])
def test_a_path_with_dot_segments_is_a_problem(client: httpx.Client, path: str) -> None:
    address = urlsplit(str(client.base_url))
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        response = b"".join(iter(lambda: connection.recv(65536), b""))
    assert response.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.1 422 ")), response[:200]
