"""Creating, reading, changing and deleting posts, and who may do it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from content_support import Caller, Posts, assert_problem, caller
from kpi_content.posts.models import MAX_CONTENT, MAX_TITLE
from kpi_content.posts.schemas import PostCreate, PostUpdate
from kpi_shared.tokens import TokenCodec

NEW = {"title": "Of bees", "content": "They dance."}
TOO_LARGE = 2**63


async def test_a_new_post_is_the_same_in_the_response_and_when_read(client: httpx.AsyncClient, anna: Caller) -> None:
    response = await client.post("/posts", json=NEW, headers=anna.headers)
    assert response.status_code == 201, response.text
    post = response.json()
    assert {name: post[name] for name in NEW} == NEW
    assert post["published"] is True
    assert post["votes"] == 0
    assert post["owner"] == {"id": 11, "username": "anna", "deleted": False}
    assert post["updated_at"] == post["date"]
    assert datetime.now(UTC) - datetime.fromisoformat(post["date"]) < timedelta(minutes=1)
    assert post["date"].endswith("Z")
    assert response.headers["Location"] == f"/posts/{post['id']}"
    read = await client.get(response.headers["Location"])
    assert read.status_code == 200
    assert read.json() == post


async def test_put_replaces_all_fields_and_publishes_by_default(
    client: httpx.AsyncClient, anna: Caller, posts: Posts
) -> None:
    post = await posts.add(content="long", published=False)
    response = await client.put(f"/posts/{post['id']}", json={"title": "New", "content": ""}, headers=anna.headers)
    assert response.status_code == 200, response.text
    changed = response.json()
    assert (changed["title"], changed["content"], changed["published"]) == ("New", "", True)
    assert changed["date"] == post["date"]
    assert changed["updated_at"] > post["updated_at"]


@pytest.mark.parametrize(
    "change", [{"title": "Other"}, {"content": ""}, {"published": False}, {"title": "Other", "published": False}]
)
async def test_patch_changes_only_the_fields_that_are_sent(
    client: httpx.AsyncClient, anna: Caller, posts: Posts, change: dict[str, Any]
) -> None:
    post = await posts.add(content="text")
    response = await client.patch(f"/posts/{post['id']}", json=change, headers=anna.headers)
    assert response.status_code == 200, response.text
    changed = response.json()
    assert changed.pop("updated_at") > post.pop("updated_at")
    assert changed == post | change


async def test_an_empty_patch_is_refused_and_the_fields_are_named(
    client: httpx.AsyncClient, anna: Caller, posts: Posts
) -> None:
    post = await posts.add()
    response = await client.patch(f"/posts/{post['id']}", json={}, headers=anna.headers)
    assert_problem(response, 422, "invalid-request")
    assert "title, content and published" in response.json()["detail"]


async def test_a_post_is_deleted_with_its_votes(client: httpx.AsyncClient, anna: Caller, posts: Posts) -> None:
    post = await posts.add()
    await client.post("/votes", json={"post_id": post["id"], "direction": 1}, headers=anna.headers)
    response = await client.delete(f"/posts/{post['id']}", headers=anna.headers)
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(await client.get(f"/posts/{post['id']}"), 404, "post-not-found")
    assert_problem(await client.delete(f"/posts/{post['id']}", headers=anna.headers), 404, "post-not-found")
    assert await posts.rows("SELECT 1 FROM votes") == []


async def test_a_new_name_in_the_token_renames_the_author_at_their_next_write(
    client: httpx.AsyncClient, posts: Posts, tokens: TokenCodec
) -> None:
    first = await posts.add(by=caller(tokens, 7, "maria"))
    await posts.add(by=caller(tokens, 7, "marie"))
    assert (await client.get(f"/posts/{first['id']}")).json()["owner"] == {
        "id": 7,
        "username": "marie",
        "deleted": False,
    }


@pytest.mark.parametrize(
    ("who", "published", "expected"),
    [
        # Read, put, patch, delete.
        ("anna", True, (200, 200, 200, 204)),
        ("anna", False, (200, 200, 200, 204)),
        ("bert", True, (200, 403, 403, 403)),
        ("bert", False, (404, 404, 404, 404)),
        ("admin", True, (200, 403, 403, 204)),
        ("admin", False, (404, 404, 404, 404)),
        (None, True, (200, 401, 401, 401)),
        (None, False, (404, 401, 401, 401)),
    ],
)
async def test_who_may_do_what_with_annas_post(
    client: httpx.AsyncClient,
    posts: Posts,
    request: pytest.FixtureRequest,
    who: str | None,
    published: bool,
    expected: tuple[int, int, int, int],
) -> None:
    post = await posts.add(published=published)
    headers = request.getfixturevalue(who).headers if who else {}
    address = f"/posts/{post['id']}"
    responses = (
        await client.get(address, headers=headers),
        await client.put(address, json=NEW | {"published": published}, headers=headers),
        await client.patch(address, json={"content": "changed"}, headers=headers),
        await client.delete(address, headers=headers),
    )
    assert tuple(response.status_code for response in responses) == expected
    refused = [response for response in responses if response.status_code >= 400]
    assert all(response.headers["Content-Type"] == "application/problem+json" for response in refused)


@pytest.mark.parametrize(
    ("title", "stored"),
    [("x", "x"), ("  Of bees \n", "Of bees"), ("é" * MAX_TITLE, "é" * MAX_TITLE), ("😀 '\\\"%;--", "😀 '\\\"%;--")],
)
async def test_valid_titles(posts: Posts, title: str, stored: str) -> None:
    assert (await posts.add(title))["title"] == stored


async def test_the_longest_content_is_accepted_and_found(client: httpx.AsyncClient, posts: Posts) -> None:
    # The largest number of distinct words that fit, which is the worst case for the search vector.
    words = " ".join(f"{number:x}" for number in range(10_000))[: MAX_CONTENT - 7] + " zebra"
    post = await posts.add(content=words)
    found = await client.get("/posts", params={"search": '"zebra"'})
    assert [item["id"] for item in found.json()["items"]] == [post["id"]]


@pytest.mark.parametrize(
    "body",
    [
        {"title": "", "content": ""},
        {"title": " \t\n\u2003", "content": ""},
        {"title": "x" * (MAX_TITLE + 1), "content": ""},
        {"title": "x", "content": "x" * (MAX_CONTENT + 1)},
        {"title": "x"},
        {"content": "x"},
        {"title": None, "content": ""},
        {"title": "x", "content": 1},
        {"title": "x", "content": "", "published": "yes"},
        {"title": "x", "content": "", "published": 1},
        {"title": "x", "content": "", "votes": 1000},
        {"title": "x", "content": "", "owner_id": 1},
        {"title": "nul \0", "content": ""},
        {"title": "x", "content": "nul \0"},
        [],
        None,
    ],
)
async def test_invalid_bodies_are_refused(client: httpx.AsyncClient, anna: Caller, body: object) -> None:
    assert_problem(await client.post("/posts", json=body, headers=anna.headers), 422, "invalid-request")


@pytest.mark.parametrize("marks", ["\u0316\u0301" * 16, "\u05b4\u05b0" * 16, "\u0301" * 31])
async def test_a_long_run_of_combining_marks_is_refused(client: httpx.AsyncClient, anna: Caller, marks: str) -> None:
    """The database takes quadratic time to normalise one: a post of 40,000 would occupy it for ten seconds."""
    for body in ({"title": f"a{marks}", "content": ""}, {"title": "a", "content": f"a{marks}"}):
        response = await client.post("/posts", json=body, headers=anna.headers)
        assert_problem(response, 422, "invalid-request")
        assert "combining marks" in response.json()["detail"]
    content = f"a{marks[:30]}b{marks[:30]}"
    response = await client.post("/posts", json={"title": "a", "content": content}, headers=anna.headers)
    assert (response.status_code, response.json()["content"]) == (201, content)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"title": "\\ud800", "content": ""}',
        b'{"title": "x", "content": "\\udc00\\ud800"}',
        b'{"title": "\xff\xfe", "content": ""}',
        b'{"title": "x", "content": ',
        b'{"title": "x", "content": "", "\\ud800": 1}',
        b"[" * 100_000,
        b'{"title": ' + b"9" * 10_000 + b"}",
        b"\x00",
        b"",
    ],
    ids=["surrogate", "reversed-pair", "not-utf8", "cut", "surrogate-name", "deep", "huge-int", "nul", "empty"],
)
async def test_malformed_json_is_refused(client: httpx.AsyncClient, anna: Caller, raw: bytes) -> None:
    headers = anna.headers | {"Content-Type": "application/json"}
    response = await client.post("/posts", content=raw, headers=headers)
    assert response.status_code in {400, 422}, response.text
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("post_id", [0, -1, TOO_LARGE, 10**400, "one", "%00", "%ff", "1.5"])
async def test_invalid_ids_are_refused(client: httpx.AsyncClient, anna: Caller, post_id: object) -> None:
    assert_problem(await client.get(f"/posts/{post_id}"), 422, "invalid-request")
    assert_problem(await client.delete(f"/posts/{post_id}", headers=anna.headers), 422, "invalid-request")


async def test_the_largest_id_is_valid_and_not_found(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get(f"/posts/{TOO_LARGE - 1}"), 404, "post-not-found")


def test_a_patch_may_change_every_field_that_a_new_post_has() -> None:
    assert PostUpdate.model_fields.keys() == PostCreate.model_fields.keys()
