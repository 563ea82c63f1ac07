"""The command ``python -m kpi_content import-posts``."""

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import httpx
import pytest
from content_support import Posts
from fastapi import FastAPI
from kpi_content.imports import repository
from kpi_content.imports.command import check_posts, import_posts
from kpi_content.settings import ContentSettings
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import clean_environment
from pydantic import SecretStr
from sqlalchemy import text


def line(number: int, **other: object) -> dict[str, Any]:
    return {
        "source": "hacker_news",
        "external_id": number,
        "author": {"id": 500 + number % 3, "username": f"author{number % 3}"},
        "title": f"Title {number}",
        "content": "https://example.com/\t\\N",
        "date": "2015-09-06T05:56:00+02:00",
        "voters": list(range(1, 1 + number % 5)),
        **other,
    }


class Result(NamedTuple):
    code: int
    output: str
    errors: str


Run = Callable[["list[Any] | bytes"], Awaitable[Result]]


@pytest.fixture
def run(settings: ContentSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Import lines, or any bytes, in this process, because a new process takes seconds to start."""

    async def import_lines(lines: "list[Any] | bytes") -> Result:
        data = lines if isinstance(lines, bytes) else b"\n".join(json.dumps(line).encode() for line in lines)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        capsys.readouterr()
        # The command starts an event loop, and this thread already runs one.
        code = await asyncio.to_thread(import_posts, settings)
        return Result(code, *capsys.readouterr())

    return import_lines


def progress(result: Result) -> list[dict[str, int]]:
    return [json.loads(line) for line in result.output.splitlines()]


VOTES_OF_700 = sum(number % 5 for number in range(700))


async def test_posts_are_loaded_once_with_their_dates_and_votes(
    run: Run, committed_posts: Posts, committing_client: httpx.AsyncClient
) -> None:
    lines = [line(number) for number in range(700)]
    first, second = await run(lines), await run(lines)
    assert first.code == second.code == 0, first.errors + second.errors
    assert [(step["read"], step["added"]) for step in progress(first)] == [(500, 500), (700, 700)]
    assert progress(first)[-1]["votes"] == VOTES_OF_700
    assert progress(second)[-1] == {"read": 700, "added": 0, "votes": 0}
    wrong = "SELECT 1 FROM posts WHERE votes <> (SELECT count(*) FROM votes WHERE post_id = posts.id)"
    assert await committed_posts.rows(wrong) == []
    top = (await committing_client.get("/posts", params={"sort": "top", "total": True})).json()
    assert top["total"] == 700
    assert {post["votes"] for post in top["items"]} == {4}
    one = next(post for post in top["items"] if post["title"] == "Title 694")
    assert one["owner"] == {"id": 501, "username": "author1", "deleted": False}
    assert one["content"] == "https://example.com/\t\\N"
    assert one["date"] == one["updated_at"] == "2015-09-06T03:56:00Z"
    dates = await committed_posts.rows("SELECT DISTINCT date FROM votes")
    assert [row[0].isoformat() for row in dates] == ["2015-09-06T03:56:00+00:00"]


async def test_a_post_keeps_the_time_of_its_publication(
    run: Run, committed_posts: Posts, committing_client: httpx.AsyncClient
) -> None:
    await run([line(1), line(2, published_at="2015-10-01T00:00:00Z"), line(3, date="2015-09-20T00:00:00Z")])
    new = (await committing_client.get("/posts")).json()["items"]
    assert [(post["title"], post["date"], post["published_at"]) for post in new] == [
        ("Title 2", "2015-09-06T03:56:00Z", "2015-10-01T00:00:00Z"),
        ("Title 3", "2015-09-20T00:00:00Z", "2015-09-20T00:00:00Z"),
        ("Title 1", "2015-09-06T03:56:00Z", "2015-09-06T03:56:00Z"),
    ]


async def test_a_deleted_post_can_be_loaded_again(run: Run, committed_posts: Posts) -> None:
    await run([line(1), line(2)])
    await committed_posts.execute("DELETE FROM posts WHERE title = 'Title 1'")
    assert progress(await run([line(1), line(2)])) == [{"read": 2, "added": 1, "votes": 1}]


async def test_a_post_that_occurs_twice_is_loaded_once(run: Run, committed_posts: Posts) -> None:
    twice = [line(1), line(1, title="again"), line(1, source="elsewhere", title="other")]
    assert progress(await run(twice))[-1]["added"] == 2
    assert await committed_posts.rows("SELECT title FROM posts ORDER BY id") == [("Title 1",), ("other",)]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (line(600, title=" "), "title"),
        (line(600, title="x" * 301), "title"),
        (line(600, content="nul \0"), "content"),
        (line(600, date="yesterday"), "date"),
        (line(600, date="2015-09-06T05:56:00"), "date"),
        (line(600, published_at="2015-09-06T05:56:00"), "published_at"),
        (line(600, voters=[1, 2, 1]), "voters"),
        (line(600, voters=[0]), "voters.0"),
        (line(600, external_id="600"), "external_id"),
        (line(600, author={"id": 1}), "author.username"),
        ({}, "source"),
        ("no object", "line"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_invalid_line_is_reported_and_its_batch_is_rolled_back(
    run: Run, committed_posts: Posts, bad: object, field: str
) -> None:
    result = await run([*[line(number) for number in range(600)], bad, line(601)])
    assert result.code == 1
    assert f"line 601: field {field}: " in result.errors
    assert "Traceback" not in result.errors
    assert [step["added"] for step in progress(result)] == [500]
    assert await committed_posts.rows("SELECT count(*) FROM posts") == [(500,)]


async def test_malformed_json_is_reported(run: Run, committed_posts: Posts) -> None:
    for data in (b"{", b'{"title": "\xff"}', b"\n"):
        result = await run(data)
        assert result.code == 1
        assert "line 1: field line: " in result.errors
    assert await committed_posts.rows("SELECT 1 FROM posts") == []


async def test_an_error_of_the_database_is_reported_in_one_line_and_the_batch_is_rolled_back(
    run: Run, committed_posts: Posts
) -> None:
    await committed_posts.execute("ALTER TABLE votes ADD CONSTRAINT refused CHECK (user_id < 4)")
    try:
        result = await run([line(number) for number in range(5)])
    finally:
        await committed_posts.execute("ALTER TABLE votes DROP CONSTRAINT refused")
    reason = 'new row for relation "votes" violates check constraint "refused"'
    assert (result.code, result.output, result.errors) == (1, "", f"kpi-content: {reason}\n")
    assert await committed_posts.rows("SELECT id FROM authors UNION ALL SELECT id FROM posts") == []


async def test_an_unreachable_database_is_reported_in_one_line(
    settings: ContentSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = settings.model_copy(update={"database_url": SecretStr("postgresql+psycopg://u@127.0.0.1:1/none")})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(line(1)).encode())))
    assert await asyncio.to_thread(import_posts, away) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("kpi-content: connection failed")
    assert errors.count("\n") == 1


async def test_a_check_judges_all_lines_and_needs_no_database(
    settings: ContentSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = settings.model_copy(update={"database_url": SecretStr("postgresql+psycopg://u@127.0.0.1:1/none")})

    def check(*lines: dict[str, Any]) -> int:
        data = "\n".join(json.dumps(each) for each in lines).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return check_posts(away)

    assert check(line(1), line(2)) == 0
    assert capsys.readouterr() == ('{"read": 2}\n', "")
    assert check(line(1), line(2, title=" ")) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("kpi-content: line 2: field title: ")


async def test_refreshing_the_statistics_restores_the_timeouts(running_app: FastAPI) -> None:
    async with running_app.state.database.reading() as connection:
        await repository.refresh_statistics(connection)
        assert await connection.scalar(text("SHOW statement_timeout")) == "1800ms"
        assert await connection.scalar(text("SHOW lock_timeout")) == "1350ms"


def test_the_command_runs_as_a_program(worker: str, secret_key: str) -> None:
    url = create_migrated_database("kpi_content", f"content_import_{worker}")
    result = subprocess.run(
        [sys.executable, "-m", "kpi_content", "import-posts"],
        env=clean_environment({"DATABASE_URL": url, "PASETO_SECRET_KEY": secret_key}),
        input=json.dumps(line(1)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {"read": 1, "added": 1, "votes": 1}
