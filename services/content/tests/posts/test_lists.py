"""Lists of posts: order, pages, cursors, drafts."""

import base64
import itertools
from typing import Any

import httpx
import pytest
from content_support import ANNA, Caller, Posts, assert_problem
from kpi_content.posts.filters import Position, PostFilter, Sort
from kpi_shared.cursors import CursorSealer
from kpi_shared.paging import decode_cursor, encode_cursor
from kpi_shared.tokens import KeyRing

MANY = 230
# Few dates and few vote counts, so that most neighbours differ by their id alone.
ADD_MANY = """
    INSERT INTO posts (owner_id, title, content, published, date, votes)
    SELECT :owner, 'post ' || n, '', n % 10 <> 0, timestamptz '2024-01-01Z' + (n * 7 % 5) * interval '1 hour', n * 3 % 4
    FROM generate_series(1, :number) AS n
"""
ORDERS = {
    "new": "date DESC, id DESC",
    "top": "votes DESC, id DESC",
    "hot": "log10(greatest(votes, 1)) + extract(epoch FROM date) / 45000.0 DESC, id DESC",
}


async def add_many(posts: Posts, number: int = MANY) -> None:
    await posts.add("the first, which makes the author known")
    await posts.execute(ADD_MANY, owner=ANNA, number=number)


async def ids_in_order(posts: Posts, where: str, sort: str) -> list[int]:
    """The ids of a list, sorted by an order that this file defines independently."""
    return [row[0] for row in await posts.rows(f"SELECT id FROM posts {where} ORDER BY {ORDERS[sort]}")]  # noqa: S608


async def page(client: httpx.AsyncClient, **query: object) -> dict[str, Any]:
    headers = query.pop("headers", None)
    response = await client.get("/posts", params=query, headers=headers)  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    shown: dict[str, Any] = response.json()
    return shown


async def walk(client: httpx.AsyncClient, **query: object) -> list[int]:
    """The ids of all pages, read one after another by cursor."""
    ids: list[int] = []
    cursor: dict[str, str] = {}
    # The largest possible number of pages, and one more that would be wrong.
    for _ in range(MANY + 2):
        shown = await page(client, **query, **cursor)
        ids += [item["id"] for item in shown["items"]]
        if shown["next"] is None:
            return ids
        cursor = {"cursor": shown["next"]}
    raise AssertionError("the list has no last page")


@pytest.mark.parametrize("sort", ORDERS)
@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_pages_hold_every_published_post_once_in_order(
    client: httpx.AsyncClient, posts: Posts, sort: str, limit: int
) -> None:
    await add_many(posts)
    expected = await ids_in_order(posts, "WHERE published", sort)
    assert await walk(client, sort=sort, limit=limit) == expected


@pytest.mark.parametrize("sort", ORDERS)
async def test_skip_and_cursor_lead_to_the_same_posts(client: httpx.AsyncClient, posts: Posts, sort: str) -> None:
    await add_many(posts)
    first = await page(client, sort=sort, limit=20)
    assert await page(client, sort=sort, limit=20, skip=20) == await page(
        client, sort=sort, limit=20, cursor=first["next"]
    )


async def test_a_post_added_between_two_pages_neither_repeats_nor_hides_another(
    client: httpx.AsyncClient, posts: Posts
) -> None:
    await add_many(posts, 20)
    first = await page(client, limit=10)
    await posts.add("in between")
    second = await page(client, limit=10, cursor=first["next"])
    rows = await posts.rows(
        "SELECT id FROM posts WHERE published AND title <> 'in between' ORDER BY date DESC, id DESC"
    )
    assert [item["id"] for item in first["items"] + second["items"]] == [row[0] for row in rows[:20]]


async def test_the_defaults_of_a_list(client: httpx.AsyncClient, posts: Posts) -> None:
    await add_many(posts, 20)
    shown = await page(client)
    assert set(shown) == {"items", "next"}
    assert len(shown["items"]) == 10
    assert shown == await page(client, sort="new", limit=10, skip=0, mine=False, total=False)
    one = shown["items"][0]
    assert (await client.get(f"/posts/{one['id']}")).json() == one


async def test_an_empty_list(client: httpx.AsyncClient) -> None:
    assert await page(client, total=True) == {"items": [], "next": None, "total": 0, "total_is_exact": True}


async def test_the_total_is_that_of_the_whole_list_on_every_page(client: httpx.AsyncClient, posts: Posts) -> None:
    await add_many(posts)
    [(published,)] = await posts.rows("SELECT count(*) FROM posts WHERE published")
    first = await page(client, total=True)
    assert first["total"] == published
    assert (await page(client, total=True, cursor=first["next"]))["total"] == published
    assert (await page(client, total=True, search='"post 8"'))["total"] == 1


async def test_drafts_are_in_their_owners_list_only(
    client: httpx.AsyncClient, posts: Posts, anna: Caller, bert: Caller, admin: Caller
) -> None:
    draft = (await posts.add("draft", published=False))["id"]
    shown = (await posts.add("shown"))["id"]
    other = (await posts.add("other", by=bert))["id"]
    for headers in (None, anna.headers, bert.headers, admin.headers):
        assert {item["id"] for item in (await page(client, headers=headers))["items"]} == {shown, other}
        assert (await page(client, search="draft", headers=headers))["items"] == []
    mine = await page(client, mine=True, total=True, headers=anna.headers)
    assert {item["id"] for item in mine["items"]} == {draft, shown}
    assert mine["total"] == 2
    assert [item["id"] for item in (await page(client, mine=True, headers=bert.headers))["items"]] == [other]
    found = await page(client, mine=True, search="draft", headers=anna.headers)
    assert [item["id"] for item in found["items"]] == [draft]


@pytest.mark.parametrize("sort", ORDERS)
async def test_pages_of_the_callers_own_posts(client: httpx.AsyncClient, posts: Posts, anna: Caller, sort: str) -> None:
    await add_many(posts, 50)
    expected = await ids_in_order(posts, "", sort)
    assert await walk(client, sort=sort, limit=9, mine=True, headers=anna.headers) == expected


async def test_a_list_of_own_posts_requires_a_token(client: httpx.AsyncClient) -> None:
    response = await client.get("/posts", params={"mine": True})
    assert_problem(response, 401, "unauthenticated")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "query",
    [
        {"limit": -1},
        {"limit": 0},
        {"limit": 101},
        {"limit": "ten"},
        {"limit": 10**400},
        {"skip": -1},
        {"skip": 10_001},
        {"skip": 2**63},
        {"sort": "old"},
        {"sort": ""},
        {"total": "maybe"},
        {"mine": "maybe"},
        {"search": "x" * 201},
        {"search": "nul \0"},
        {"cursor": ""},
        {"cursor": "x"},
        {"cursor": "A" * 42},
        {"cursor": "A" * 43 + "="},
        {"cursor": "é" * 43},
        {"cursor": "A" * 10_000},
        {"cursor": "\0" * 43},
    ],
    ids=str,
)
async def test_invalid_parameters_are_refused(client: httpx.AsyncClient, query: dict[str, Any]) -> None:
    response = await client.get("/posts", params=query)
    assert_problem(response, 422, "invalid-request")
    [name] = query
    assert response.json()["errors"][0]["pointer"] == f"#/query/{name}"


@pytest.mark.parametrize("query", ["search=%ff", "search=%ed%a0%80", "search=%00", "sort=%ff", "cursor=%ff"])
async def test_urls_that_are_not_utf8_are_refused(client: httpx.AsyncClient, query: str) -> None:
    assert_problem(await client.get(f"/posts?{query}"), 422, "invalid-request")


async def test_a_cursor_and_a_skip_exclude_each_other(client: httpx.AsyncClient, posts: Posts) -> None:
    await add_many(posts, 20)
    cursor = (await page(client))["next"]
    response = await client.get("/posts", params={"cursor": cursor, "skip": 1})
    assert_problem(response, 422, "invalid-cursor")
    assert "cannot be combined" in response.json()["detail"]


async def test_a_cursor_is_valid_in_its_own_list_only(
    client: httpx.AsyncClient, posts: Posts, anna: Caller, bert: Caller
) -> None:
    await add_many(posts, 60)
    lists: list[dict[str, Any]] = [
        {},
        {"sort": "top"},
        {"sort": "hot"},
        {"search": "post"},
        {"search": "pos"},
        {"mine": True, "headers": anna.headers},
        {"mine": True, "sort": "hot", "headers": anna.headers},
    ]
    cursors = [(await page(client, **query))["next"] for query in lists]
    for (query, own), cursor in itertools.product(zip(lists, cursors, strict=True), cursors):
        params = {name: value for name, value in query.items() if name != "headers"}
        response = await client.get("/posts", params=params | {"cursor": cursor}, headers=query.get("headers"))
        assert (response.status_code == 200) == (cursor == own), (query, response.text)
    response = await client.get("/posts", params={"mine": True, "cursor": cursors[5]}, headers=bert.headers)
    assert_problem(response, 422, "invalid-cursor")


async def test_a_cursor_with_any_changed_bit_is_refused(client: httpx.AsyncClient, posts: Posts) -> None:
    await add_many(posts, 20)
    cursor = (await page(client))["next"]
    data = base64.urlsafe_b64decode(cursor + "=")
    forged = [
        base64.urlsafe_b64encode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]).decode().rstrip("=")
        for at in range(len(data))
    ]
    # The last character has two unused bits; a cursor that differs in them must not be accepted.
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    forged += [cursor[:-1] + letter for letter in letters if letter != cursor[-1]]
    for one in forged:
        assert_problem(await client.get("/posts", params={"cursor": one}), 422, "invalid-cursor")


FILTER = PostFilter(Sort.TOP, "bees", None)
POSITION = Position(2**31 - 1, 2**63 - 1)


def test_a_cursor_of_a_previous_key_is_valid_and_one_of_a_retired_key_is_not() -> None:
    old, new = (bytes([byte, *range(31)]) for byte in (1, 2))
    before, rotated, retired = (
        CursorSealer(ring) for ring in (KeyRing.local(old), KeyRing.local(new, [old]), KeyRing.local(new))
    )
    cursor = encode_cursor(POSITION, of=FILTER, sealer=before)
    assert decode_cursor(cursor, of=FILTER, sealer=rotated) == POSITION
    assert encode_cursor(POSITION, of=FILTER, sealer=rotated) != cursor
    with pytest.raises(Exception, match="next field of this list"):
        decode_cursor(cursor, of=FILTER, sealer=retired)


def test_a_cursors_key_is_not_the_tokens_key() -> None:
    """The key that seals cursors is derived, so that no cursor reveals anything of the key that seals tokens."""
    key = bytes(range(1, 33))
    assert key not in CursorSealer(KeyRing.local(key))._keys
