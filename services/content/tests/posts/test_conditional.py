"""Entity tags: a client that has a version gets no body, no shared cache stores a user's drafts, no write is lost."""

import asyncio
from typing import Any

import httpx
import pytest
from content_support import Caller, Posts, assert_problem
from kpi_content.app import create_app
from kpi_content.posts import repository
from kpi_content.posts.schemas import CountedPostPage, PostPage, PostPublic
from kpi_content.settings import ContentSettings
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
async def test_a_version_that_the_client_has_is_not_sent_again(
    client: httpx.AsyncClient, posts: Posts, address: str
) -> None:
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


async def test_every_change_of_a_public_field_changes_the_tag(
    client: httpx.AsyncClient, posts: Posts, anna: Caller
) -> None:
    post = await posts.add()
    address = f"/posts/{post['id']}"
    tags = set()

    async def collect_tags() -> None:
        for place in (address, "/posts"):
            tags.add((await client.get(place)).headers["ETag"])

    await collect_tags()
    await client.post("/votes", json={"post_id": post["id"], "direction": 1}, headers=anna.headers)
    await collect_tags()
    await client.patch(address, json={"title": "Another"}, headers=anna.headers)
    await collect_tags()
    await posts.execute("UPDATE authors SET username = 'someone else'")
    await collect_tags()
    assert len(tags) == 8
    await collect_tags()
    assert len(tags) == 8


@pytest.mark.parametrize("condition", ["etag", '"open', "W/*", ", ,", '"a" "b"'])
async def test_a_malformed_condition_is_refused(client: httpx.AsyncClient, posts: Posts, condition: str) -> None:
    post = await posts.add()
    response = await client.get(f"/posts/{post['id']}", headers={"If-None-Match": condition})
    assert_problem(response, 400, "malformed-condition")


NEW = {"title": "New", "content": "new"}
WRITES: dict[str, Any] = {"PUT": NEW, "PATCH": {"content": "new"}, "DELETE": None}


async def test_each_write_sends_the_tag_that_a_read_has(client: httpx.AsyncClient, posts: Posts, anna: Caller) -> None:
    written = await client.post("/posts", json=NEW, headers=anna.headers)
    address = f"/posts/{written.json()['id']}"
    tags = set()
    for method in ("PUT", "PATCH", None):
        assert written.headers["ETag"] == (await client.get(address)).headers["ETag"]
        tags.add(written.headers["ETag"])
        if method:
            written = await client.request(method, address, json=WRITES[method], headers=anna.headers)
    assert len(tags) == 3


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize(
    ("form", "matches"),
    [
        ("{tag}", True),
        ("*", True),
        (' "a,b" ,, {tag}', True),
        ("{tag:coded}", True),
        ("W/{tag}", False),
        ('"other"', False),
        ('"", "other"', False),
    ],
)
async def test_a_write_happens_only_if_the_version_matches(
    client: httpx.AsyncClient, posts: Posts, anna: Caller, method: str, form: str, matches: bool
) -> None:
    post = await posts.add(content="old")
    address = f"/posts/{post['id']}"
    before = await client.get(address)
    tag = before.headers["ETag"]
    condition = form.replace("{tag:coded}", tag[:-1] + '-gzip"').replace("{tag}", tag)
    headers = anna.headers | {"If-Match": condition}
    response = await client.request(method, address, json=WRITES[method], headers=headers)
    after = await client.get(address)
    if matches:
        assert response.is_success, response.text
        assert after.content != before.content
    else:
        assert_problem(response, 412, "changed-meanwhile")
        assert response.headers["ETag"] == tag
        assert after.content == before.content


@pytest.mark.parametrize("method", WRITES)
async def test_a_tag_from_before_a_change_does_not_match(
    client: httpx.AsyncClient, posts: Posts, anna: Caller, bert: Caller, admin: Caller, method: str
) -> None:
    post = await posts.add()
    address, body = f"/posts/{post['id']}", WRITES[method]
    stale = {"If-Match": (await client.get(address)).headers["ETag"]}
    await client.post("/votes", json={"post_id": post["id"], "direction": 1}, headers=bert.headers)
    writers = [anna, admin] if method == "DELETE" else [anna]
    for writer in writers:
        response = await client.request(method, address, json=body, headers=writer.headers | stale)
        assert_problem(response, 412, "changed-meanwhile")
    # Who may not write the post is refused for that reason, with a matching condition and without.
    refused = await client.request(method, address, json=body, headers=bert.headers | stale)
    assert_problem(refused, 403, "not-your-post")
    missing = await client.request(method, "/posts/999999", json=body, headers=anna.headers | {"If-Match": "*"})
    assert_problem(missing, 404, "post-not-found")
    current = {"If-Match": response.headers["ETag"]}
    assert (await client.request(method, address, json=body, headers=writers[-1].headers | current)).is_success


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("condition", ["", "etag", '"open', "W/*", ", ,", '"a" "b"', '*, "a"'])
async def test_a_write_with_a_malformed_condition_is_refused(
    client: httpx.AsyncClient, posts: Posts, anna: Caller, method: str, condition: str
) -> None:
    address = f"/posts/{(await posts.add())['id']}"
    headers = anna.headers | {"If-Match": condition}
    assert_problem(
        await client.request(method, address, json=WRITES[method], headers=headers), 400, "malformed-condition"
    )
    assert (await client.get(address)).json()["title"] == "A title"


async def test_of_concurrent_writes_with_the_same_tag_exactly_one_succeeds(
    committed_posts: Posts, committing_client: httpx.AsyncClient, anna: Caller
) -> None:
    address = f"/posts/{(await committed_posts.add())['id']}"
    tag = (await committing_client.get(address)).headers["ETag"]
    for turn in range(10):
        headers = anna.headers | {"If-Match": tag}
        responses = await asyncio.gather(
            *(
                committing_client.patch(address, json={"content": f"{turn} {writer}"}, headers=headers)
                for writer in range(4)
            )
        )
        assert sorted(response.status_code for response in responses) == [200, 412, 412, 412]
        [won] = [response for response in responses if response.status_code == 200]
        tag = won.headers["ETag"]
        read = await committing_client.get(address)
        assert (read.headers["ETag"], read.content) == (tag, won.content)


def test_every_resource_with_a_tag_honours_if_match(settings: ContentSettings) -> None:
    """A route that is read with an entity tag is changed on condition, and its document says so."""
    checked = set()
    for path, operations in create_app(settings).openapi()["paths"].items():
        if "304" not in operations.get("get", {}).get("responses", {}):
            continue
        for method in operations.keys() & {"put", "patch", "delete"}:
            names = {(each["in"], each["name"]) for each in operations[method].get("parameters", [])}
            assert ("header", "If-Match") in names, (method, path)
            assert "412" in operations[method]["responses"], (method, path)
            checked.add(f"{method} {path}")
    assert checked == {
        *(f"{method} /posts/{{post_id}}" for method in ("put", "patch", "delete")),
        *(f"{method} /conversations/{{conversation_id}}" for method in ("patch", "delete")),
        *(f"{method} /conversations/{{conversation_id}}/members/{{user_id}}" for method in ("patch", "delete")),
        "delete /conversations/{conversation_id}/messages/{message_id}",
    }


async def test_responses_to_authenticated_requests_stay_out_of_shared_caches(
    client: httpx.AsyncClient, posts: Posts, anna: Caller
) -> None:
    draft = f"/posts/{(await posts.add(published=False))['id']}"
    for address in (draft, "/posts?mine=true", "/posts"):
        response = await client.get(address, headers=anna.headers)
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert response.headers["Vary"] == "Authorization, Accept-Encoding"
    # A response to another client must not be used for the owner either.
    for address, status in ((draft, 404), ("/posts", 200)):
        response = await client.get(address)
        assert response.status_code == status
        assert response.headers["Cache-Control"] == "no-cache"
        assert "Authorization" in response.headers["Vary"]


async def test_head_sends_the_header_fields_of_get(client: httpx.AsyncClient, posts: Posts) -> None:
    address = f"/posts/{(await posts.add(content='long ' * 400))['id']}"
    for coding in ("identity", "zstd"):
        headers = {"Accept-Encoding": coding}
        got, head = await client.get(address, headers=headers), await client.head(address, headers=headers)
        for name in ("ETag", "Content-Length", "Vary", "Cache-Control"):
            assert head.headers[name] == got.headers[name], (coding, name)
        unchanged = await client.head(address, headers={**headers, "If-None-Match": got.headers["ETag"]})
        assert unchanged.status_code == 304


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
    # The version that the client has is in another coding than this response.
    other = await client.get(address, headers={**PLAIN, "If-None-Match": packed.headers["ETag"]})
    assert other.content == plain.content


async def test_response_bodies_match_their_schemas(client: httpx.AsyncClient, posts: Posts, anna: Caller) -> None:
    """The framework does not validate the bytes of a response, so this test compares them with their schema."""
    long = "".join(chr(code) for code in (1, 0x7F, 0x2028, 0xFFFF, 0x1F600)) + '"\\/é'
    post = await posts.add(content=long)
    for _ in range(11):
        await posts.add(published=False)
    responses: dict[type[Any], list[httpx.Response]] = {
        PostPublic: [await client.get(f"/posts/{post['id']}")],
        PostPage: [await client.get("/posts"), await client.get("/posts?mine=true", headers=anna.headers)],
        CountedPostPage: [await client.get("/posts?total=true")],
    }
    for schema, found in responses.items():
        for response in found:
            model = schema.model_validate_json(response.content, strict=True, extra="forbid")
            assert model.model_dump_json().encode() == response.content
            assert response.headers["Content-Type"] == "application/json"
    assert post["content"] == long


async def test_a_connection_that_the_database_has_closed_is_replaced(
    committed_posts: Posts, committing_client: httpx.AsyncClient
) -> None:
    address = f"/posts/{(await committed_posts.add())['id']}"
    database = committed_posts.app.state.database
    async with database.direct() as connection:
        [pid] = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
        async with database.writing() as other:
            await other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        # It breaks while it is in use: the pool must not lend it again.
        responses = [await committing_client.get(address) for _ in range(2)]
        assert [response.status_code for response in responses] == [200, 200]
        with pytest.raises(Exception, match="terminat"):
            await connection.execute("SELECT 1")
        assert connection.closed
    assert (await committing_client.get(address)).status_code == 200


async def test_a_connection_lost_during_a_statement_is_a_503(
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
