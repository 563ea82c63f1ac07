"""304 and compressed responses through the gateway, checked by their bytes on the connection."""

import gzip
import sys
import uuid

import httpx
import pytest
from stack import Person

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.e2e
DECODE = {"gzip": gzip.decompress, "zstd": zstd.decompress}
IDENTITY = {"Accept-Encoding": "identity"}


def fetch(client: httpx.Client, address: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """The response, and its undecoded body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with client.stream("GET", address, headers={**IDENTITY, **named}) as response:
        return response, b"".join(response.iter_raw())


@pytest.fixture
def word(client: httpx.Client, person: Person) -> str:
    """A search word for a list of posts that no other test changes."""
    word = f"w{uuid.uuid4().hex}"
    for number in range(5):
        body = {"title": f"{word} {number}", "content": "some content " * 40}
        assert client.post("/api/v1/posts", json=body, headers=person.headers).status_code == 201
    return word


@pytest.fixture
def addresses(client: httpx.Client, word: str) -> list[str]:
    listed = f"/api/v1/posts?search={word}"
    return [listed, f"{listed}&sort=top&limit=3&total=true", f"/api/v1/posts/{first_id(client, word)}"]


def first_id(client: httpx.Client, word: str) -> int:
    return int(client.get("/api/v1/posts", params={"search": word}).json()["items"][0]["id"])


def test_a_matching_tag_gets_304_without_a_body(client: httpx.Client, addresses: list[str], person: Person) -> None:
    for address in addresses:
        for own in ({}, person.headers):
            response, body = fetch(client, address, **own)
            assert response.status_code == 200
            again, nothing = fetch(client, address, If_None_Match=f'"x", {response.headers["ETag"]}', **own)
            assert (again.status_code, nothing) == (304, b"")
            assert "Content-Length" not in again.headers
            assert body
            for name in ("ETag", "Cache-Control", "Vary"):
                assert again.headers[name] == response.headers[name]
            assert ("private" in response.headers["Cache-Control"]) == bool(own)


def test_a_vote_changes_the_tag(client: httpx.Client, word: str, person: Person) -> None:
    post_id = first_id(client, word)
    address = f"/api/v1/posts/{post_id}"
    before, _ = fetch(client, address)
    client.post("/api/v1/votes", json={"post_id": post_id, "direction": 1}, headers=person.headers)
    after, _ = fetch(client, address, If_None_Match=before.headers["ETag"])
    assert after.status_code == 200
    assert after.headers["ETag"] != before.headers["ETag"]


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
def test_of_two_changes_with_the_same_tag_the_second_is_refused(
    client: httpx.Client, word: str, person: Person, coding: str
) -> None:
    """The tag of a response in any coding names the version, and each write responds with the next one."""
    address = f"/api/v1/posts/{first_id(client, word)}"
    coded = person.headers | {"Accept-Encoding": coding}
    read = client.get(address, headers=coded)
    first = client.patch(address, json={"title": "first"}, headers=coded | {"If-Match": read.headers["ETag"]})
    assert (first.status_code, first.json()["title"]) == (200, "first")
    second = client.patch(address, json={"title": "second"}, headers=coded | {"If-Match": read.headers["ETag"]})
    assert (second.status_code, second.json()["type"]) == (412, "changed-meanwhile")
    again = client.patch(address, json={"title": "second"}, headers=coded | {"If-Match": first.headers["ETag"]})
    assert (again.status_code, again.json()["title"]) == (200, "second")
    assert client.get(address, headers=coded).headers["ETag"] == again.headers["ETag"]


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_compressed_response_has_its_own_tag(client: httpx.Client, word: str, coding: str) -> None:
    address = f"/api/v1/posts?search={word}"
    plain, body = fetch(client, address)
    assert "Content-Encoding" not in plain.headers
    packed, data = fetch(client, address, Accept_Encoding=f"{coding}, br;q=0.1")
    assert packed.headers["Content-Encoding"] == coding
    assert packed.headers["Content-Length"] == str(len(data))
    assert len(data) < len(body) / 4
    assert DECODE[coding](data) == body
    for response in (plain, packed):
        assert {"authorization", "accept-encoding"} <= set(response.headers["Vary"].lower().split(", "))
    tags = {response.headers["ETag"] for response in (plain, packed)}
    assert len(tags) == 2
    again, nothing = fetch(client, address, Accept_Encoding=coding, If_None_Match=packed.headers["ETag"])
    assert (again.status_code, nothing, again.headers["ETag"]) == (304, b"", packed.headers["ETag"])


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("address", ["/openapi.json", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"])
def test_the_gateways_own_pages_are_compressed(client: httpx.Client, address: str, coding: str) -> None:
    _, body = fetch(client, address)
    packed, data = fetch(client, address, Accept_Encoding=coding)
    assert packed.headers["Content-Encoding"] == coding
    assert DECODE[coding](data) == body
    assert len(data) < len(body) / 2


def test_tokens_are_never_compressed(client: httpx.Client, person: Person) -> None:
    headers = {"Accept-Encoding": "gzip, zstd"}
    response = client.post("/api/v1/auth/refresh", json={"refresh_token": person.refresh_token}, headers=headers)
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]
    assert "Content-Encoding" not in response.headers
