"""When a post enters the lists: at its first publication, however long it was a draft before."""

from typing import Any

import httpx
import pytest
from alembic import command
from content_support import Caller, Posts
from kpi_content.settings import PART, ContentSettings
from kpi_shared.migrations import alembic_config, upgrade
from kpi_shared.testing.postgres import create_database
from pydantic import SecretStr
from sqlalchemy import Connection, create_engine, text

NEW = {"title": "draft", "content": ""}


async def titles(client: httpx.AsyncClient, **query: Any) -> list[str]:
    response = await client.get("/posts", params=query)
    return [item["title"] for item in response.json()["items"]]


@pytest.fixture
async def draft(posts: Posts) -> dict[str, Any]:
    """A draft that is older than two posts which have been published."""
    draft = await posts.add("draft", published=False)
    for hours in (1, 2):
        post = await posts.add(f"{hours} h")
        times = f"date = date - interval '{hours} h', published_at = published_at - interval '{hours} h'"
        await posts.execute(f"UPDATE posts SET {times} WHERE id = :id", id=post["id"])  # noqa: S608
    await posts.execute("UPDATE posts SET date = date - interval '30 days' WHERE id = :id", id=draft["id"])
    return draft


@pytest.mark.parametrize(("method", "body"), [("PUT", NEW), ("PATCH", {"published": True})])
async def test_a_draft_that_is_published_is_new(
    client: httpx.AsyncClient, anna: Caller, draft: dict[str, Any], method: str, body: dict[str, Any]
) -> None:
    address = f"/posts/{draft['id']}"
    before = (await client.get(address, headers=anna.headers)).json()
    assert before["published_at"] is None
    after = (await client.request(method, address, json=body, headers=anna.headers)).json()
    assert after["date"] == before["date"] < draft["date"] < after["published_at"] <= after["updated_at"]
    for sort in ("new", "hot"):
        expected = ["draft", "1 h", "2 h"]
        assert await titles(client, sort=sort) == expected
        paged, cursor = [], {}
        for _ in expected:
            page = (await client.get("/posts", params={"sort": sort, "limit": 1, **cursor})).json()
            paged += [item["title"] for item in page["items"]]
            cursor = {"cursor": page["next"]}
        assert paged == expected


async def test_a_post_that_is_hidden_and_shown_again_stays_in_its_place(
    client: httpx.AsyncClient, anna: Caller, draft: dict[str, Any]
) -> None:
    [post] = [item for item in (await client.get("/posts")).json()["items"] if item["title"] == "2 h"]
    for published in (False, True):
        response = await client.patch(f"/posts/{post['id']}", json={"published": published}, headers=anna.headers)
        assert response.json()["published_at"] == post["published_at"]
    for sort in ("new", "hot"):
        assert await titles(client, sort=sort) == ["1 h", "2 h"]


async def test_a_new_post_is_published_when_it_is_created(client: httpx.AsyncClient, posts: Posts) -> None:
    post = await posts.add()
    assert post["published_at"] == post["date"]
    # An edit does not publish it again.
    edited = await client.patch(f"/posts/{post['id']}", json={"content": "x"}, headers=posts.author.headers)
    assert edited.json()["published_at"] == post["date"]


async def test_drafts_stand_in_their_owners_list_by_their_date(
    client: httpx.AsyncClient, anna: Caller, draft: dict[str, Any]
) -> None:
    response = await client.get("/posts?mine=true", headers=anna.headers)
    assert [item["title"] for item in response.json()["items"]] == ["1 h", "2 h", "draft"]


async def test_a_post_that_earlier_code_published_has_the_time_of_its_date(
    client: httpx.AsyncClient, posts: Posts, anna: Caller
) -> None:
    """That code does not know the column; it may still run while this code does."""
    post = await posts.add()
    await posts.execute("UPDATE posts SET published_at = NULL, date = '2024-01-01Z' WHERE id = :id", id=post["id"])
    address = f"/posts/{post['id']}"
    for shown in (True, False, True):
        changed = await client.patch(address, json={"published": shown}, headers=anna.headers)
        assert changed.json()["published_at"] == "2024-01-01T00:00:00Z"
    assert (await client.get(address)).json()["published_at"] == "2024-01-01T00:00:00Z"


ADD = "INSERT INTO posts (owner_id, title, content, published, date) VALUES (1, :title, '', :published, '2024-01-01Z')"
READ = "SELECT published_at = date, hot = log10(1) + extract(epoch FROM date) / 45000.0 FROM posts WHERE title = :title"


def test_the_migration_fills_the_column_and_earlier_code_still_writes(worker: str, secret_key: str) -> None:
    url = create_database(f"content_publication_{worker}")
    settings = ContentSettings(database_url=SecretStr(url), paseto_secret_key=SecretStr(secret_key))
    command.upgrade(alembic_config(PART, settings), "c001")
    engine = create_engine(settings.database_url.get_secret_value())

    def add(connection: Connection, title: str, *, published: bool) -> None:
        connection.execute(text(ADD), {"title": title, "published": published})

    try:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO authors VALUES (1, 'anna')"))
            add(connection, "a “café”", published=True)
            add(connection, "draft", published=False)
        upgrade(PART, settings)
        with engine.begin() as connection:
            assert tuple(connection.execute(text(READ), {"title": "a “café”"}).one()) == (True, True)
            assert tuple(connection.execute(text(READ), {"title": "draft"}).one()) == (None, True)
            found = "SELECT title FROM posts WHERE search @@ plainto_tsquery('simple', 'cafe')"
            assert connection.scalars(text(found)).all() == ["a “café”"]
            connection.execute(text("UPDATE posts SET published = true WHERE title = 'draft'"))
            add(connection, "later", published=True)
            assert tuple(connection.execute(text(READ), {"title": "later"}).one()) == (None, True)
        command.downgrade(alembic_config(PART, settings), "c001")
    finally:
        engine.dispose()
