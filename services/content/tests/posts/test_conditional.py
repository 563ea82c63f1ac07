"""Reads under entity tags: who has a version already gets no body, and no shared cache shows anyone's drafts."""

from typing import Any

import httpx
import pytest
from content_support import Caller, Posts, assert_problem
from kpi_content.posts import repository
from kpi_content.posts.schemas import CountedPostPage, PostPage, PostPublic
from sqlalchemy import text

PLAIN = {"Accept-Encoding": "identity"}
ADDRESSES = (
    "/posts",
    "/posts?sort=top",
    "/posts?sort=hot&limit=3",
    "/posts?skip=1",
    "/posts?search=title&total=true",
    "/posts/{id}",
)


@pytest.mark.parametrize("address", ADDRESSES)
async def test_what_is_known_already_is_not_sent_again(client: httpx.AsyncClient, posts: Posts, address: str) -> None:
    post = await posts.add(content="<é> " * 400)
    await posts.add()
    address = address.format(id=post["id"])
    first = await client.get(address, headers=PLAIN)
    assert first.status_code == 200
    etag = first.headers["ETag"]
    assert etag.startswith('"')
    for condition in (etag, f"W/{etag}", f'"other", {etag}', f'"a", W/{etag} ,"b"', "*"):
        again = await client.get(address, headers={**PLAIN, "If-None-Match": condition})
        assert (again.status_code, again.content) == (304, b""), condition
        assert "Content-Length" not in again.headers
        for name in ("ETag", "Cache-Control", "Vary"):
            assert again.headers[name] == first.headers[name], name
    for condition in ('"other"', etag.strip('"').join(['"x', '"']), f'{etag[:-1]}-zstd"'):
        again = await client.get(address, headers={**PLAIN, "If-None-Match": condition})
        assert (again.status_code, again.content) == (200, first.content), condition


async def test_a_change_of_anything_that_is_shown_gives_a_new_tag(
    client: httpx.AsyncClient, posts: Posts, anna: Caller
) -> None:
    post = await posts.add()
    address = f"/posts/{post['id']}"
    tags = set()

    async def look() -> None:
        for place in (address, "/posts"):
            tags.add((await client.get(place)).headers["ETag"])

    await look()
    await client.post("/votes", json={"post_id": post["id"], "direction": 1}, headers=anna.headers)
    await look()
    await client.patch(address, json={"title": "Another"}, headers=anna.headers)
    await look()
    await posts.execute("UPDATE authors SET username = 'someone else'")
    await look()
    assert len(tags) == 8
    await look()
    assert len(tags) == 8


@pytest.mark.parametrize("condition", ["etag", '"open', "W/*", ", ,", '"a" "b"'])
async def test_a_condition_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, posts: Posts, condition: str
) -> None:
    post = await posts.add()
    answer = await client.get(f"/posts/{post['id']}", headers={"If-None-Match": condition})
    assert_problem(answer, 400, "malformed-condition")


async def test_what_a_caller_is_shown_stays_out_of_shared_caches(
    client: httpx.AsyncClient, posts: Posts, anna: Caller
) -> None:
    draft = f"/posts/{(await posts.add(published=False))['id']}"
    for address in (draft, "/posts?mine=true", "/posts"):
        answer = await client.get(address, headers=anna.headers)
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.headers["Vary"] == "Authorization, Accept-Encoding"
    # A stranger's answers are no good for the owner either.
    for address, status in ((draft, 404), ("/posts", 200)):
        answer = await client.get(address)
        assert answer.status_code == status
        assert answer.headers["Cache-Control"] == "no-cache"
        assert "Authorization" in answer.headers["Vary"]


async def test_head_says_what_get_would(client: httpx.AsyncClient, posts: Posts) -> None:
    address = f"/posts/{(await posts.add(content='long ' * 400))['id']}"
    for coding in ("identity", "zstd"):
        headers = {"Accept-Encoding": coding}
        got, told = await client.get(address, headers=headers), await client.head(address, headers=headers)
        for name in ("ETag", "Content-Length", "Vary", "Cache-Control"):
            assert told.headers[name] == got.headers[name], (coding, name)
        asked = await client.head(address, headers={**headers, "If-None-Match": got.headers["ETag"]})
        assert asked.status_code == 304


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_each_coding_has_a_tag_of_its_own(client: httpx.AsyncClient, posts: Posts, coding: str) -> None:
    address = f"/posts/{(await posts.add(content='long ' * 400))['id']}"
    plain = await client.get(address, headers=PLAIN)
    packed = await client.get(address, headers={"Accept-Encoding": coding})
    assert packed.headers["Content-Encoding"] == coding
    assert int(packed.headers["Content-Length"]) < len(plain.content) / 4
    assert packed.headers["ETag"] == f'{plain.headers["ETag"][:-1]}-{coding}"'
    again = await client.get(address, headers={"Accept-Encoding": coding, "If-None-Match": packed.headers["ETag"]})
    assert (again.status_code, again.headers["ETag"]) == (304, packed.headers["ETag"])
    assert "Content-Encoding" not in again.headers
    # What it has is of another coding than this answer would be.
    other = await client.get(address, headers={**PLAIN, "If-None-Match": packed.headers["ETag"]})
    assert other.content == plain.content


async def test_what_is_sent_is_what_the_description_promises(
    client: httpx.AsyncClient, posts: Posts, anna: Caller
) -> None:
    """No framework looks at the bytes on their way, so their schema is held against them here."""
    long = "".join(chr(code) for code in (1, 0x7F, 0x2028, 0xFFFF, 0x1F600)) + '"\\/é'
    post = await posts.add(content=long)
    for _ in range(11):
        await posts.add(published=False)
    answers: dict[type[Any], list[httpx.Response]] = {
        PostPublic: [await client.get(f"/posts/{post['id']}")],
        PostPage: [await client.get("/posts"), await client.get("/posts?mine=true", headers=anna.headers)],
        CountedPostPage: [await client.get("/posts?total=true")],
    }
    for schema, found in answers.items():
        for answer in found:
            model = schema.model_validate_json(answer.content, strict=True, extra="forbid")
            assert model.model_dump_json().encode() == answer.content
            assert answer.headers["Content-Type"] == "application/json"
    assert post["content"] == long


async def test_a_connection_that_the_server_ended_meanwhile_is_replaced(
    committed_posts: Posts, committing_client: httpx.AsyncClient
) -> None:
    address = f"/posts/{(await committed_posts.add())['id']}"
    database = committed_posts.app.state.database
    async with database.direct() as connection:
        [pid] = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
        async with database.writing() as other:
            await other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        # It breaks while it is lent: the pool must not hand it out again.
        answers = [await committing_client.get(address) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        with pytest.raises(Exception, match="terminat"):
            await connection.execute("SELECT 1")
        assert connection.closed
    assert (await committing_client.get(address)).status_code == 200


async def test_a_database_that_goes_away_under_a_statement_is_a_503(
    committed_posts: Posts, committing_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = await committed_posts.add()
    original = repository.get

    async def get(connection: Any, **values: Any) -> Any:
        connection.pgconn.finish()
        return await original(connection, **values)

    with monkeypatch.context() as patch:
        patch.setattr(repository, "get", get)
        assert_problem(await committing_client.get(f"/posts/{post['id']}"), 503, "unavailable")
    assert (await committing_client.get(f"/posts/{post['id']}")).status_code == 200
