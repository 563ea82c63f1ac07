"""The seeders of this service: what they add, once, and what the command says."""

import sys
from collections.abc import Iterator
from types import ModuleType

import httpx
import pytest
from content_support import Posts
from fastapi import FastAPI
from kpi_content.settings import PART, ContentSettings
from kpi_shared.seeding.command import SeedOptions, load_seeders, run
from kpi_shared.seeding.errors import SeedingError
from kpi_shared.settings import Environment


async def seed(app: FastAPI, count: int, only: str | None = None) -> dict[str, int]:
    added = {}
    for name, module in load_seeders(PART, only).items():
        async with app.state.database.writing() as connection:
            added[name] = await module.seed(connection, count=count)
    return added


async def test_a_second_run_adds_nothing_and_a_larger_one_the_rest(
    app: FastAPI, client: httpx.AsyncClient, posts: Posts
) -> None:
    names = ("authors", "conversations", "posts", "votes")
    assert await seed(app, 6) == dict.fromkeys(names, 6)
    assert await seed(app, 6) == dict.fromkeys(names, 0)
    assert await seed(app, 8) == dict.fromkeys(names, 2) | {"authors": 0}
    page = (await client.get("/posts", params={"limit": 100, "total": "true"})).json()
    assert page["total"] == 8
    assert sum(post["votes"] for post in page["items"]) == 8
    assert await posts.rows("SELECT count(*), min(last_number) FROM conversations") == [(8, 3)]


async def test_seeded_posts_belong_to_the_accounts_that_are_there(app: FastAPI, posts: Posts) -> None:
    await posts.execute("INSERT INTO authors (id, username) VALUES (7, 'gerda')")
    assert await seed(app, 3, only="posts") == {"authors": 0, "posts": 3}
    assert await posts.rows("SELECT DISTINCT owner_id FROM posts") == [(7,)]


async def test_a_seeded_post_is_found_by_its_words(app: FastAPI, client: httpx.AsyncClient) -> None:
    await seed(app, 3, only="posts")
    post = (await client.get("/posts")).json()["items"][0]
    word = post["title"].split()[0]
    found = (await client.get("/posts", params={"search": word})).json()["items"]
    assert post["id"] in {item["id"] for item in found}


def test_each_seeder_runs_after_those_that_it_needs() -> None:
    names = list(load_seeders(PART))
    assert names.index("authors") < names.index("posts") < names.index("votes")
    assert list(load_seeders(PART, "votes")) == ["authors", "posts", "votes"]
    with pytest.raises(SeedingError, match=r"there is no seeder nope; the seeders are authors, .*votes"):
        load_seeders(PART, "nope")


def test_seeders_that_wait_for_each_other_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = load_seeders(PART)
    monkeypatch.setattr(modules["authors"], "AFTER", ("votes",), raising=False)
    with pytest.raises(SeedingError, match=r"wait for each other: .*votes"):
        load_seeders(PART)


@pytest.fixture
def _without_polyfactory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    hidden = [name for name in sys.modules if name.partition(".")[0] == "polyfactory" or ".seeding." in name]
    kept: dict[str, ModuleType] = {name: sys.modules.pop(name) for name in hidden}
    monkeypatch.setitem(sys.modules, "polyfactory", None)
    yield
    sys.modules.update(kept)


@pytest.mark.usefixtures("_without_polyfactory")
def test_a_missing_library_is_named(settings: ContentSettings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(PART, settings, SeedOptions(count=1)) == 1
    assert "seeding needs polyfactory, which this installation lacks" in capsys.readouterr().err


def test_production_is_refused(settings: ContentSettings, capsys: pytest.CaptureFixture[str]) -> None:
    production = settings.model_copy(update={"app_env": Environment.PRODUCTION})
    assert run(PART, production, SeedOptions(count=1)) == 1
    assert capsys.readouterr().err == (
        "kpi-content: APP_ENV is production, where made-up rows are refused without --allow-production\n"
    )
