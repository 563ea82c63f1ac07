"""``python -m kpi_content import-posts``."""

import json
import subprocess
import sys
from typing import Any

import httpx
import pytest
from content_support import Posts
from kpi_content.settings import ContentSettings
from kpi_shared.testing.process import clean_environment


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


def run(settings: ContentSettings, lines: "list[Any] | bytes") -> "subprocess.CompletedProcess[bytes]":
    environment = clean_environment(
        {
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "PASETO_SECRET_KEY": settings.paseto_secret_key.get_secret_value(),
        }
    )
    data = lines if isinstance(lines, bytes) else b"\n".join(json.dumps(line).encode() for line in lines)
    command = [sys.executable, "-m", "kpi_content", "import-posts"]
    return subprocess.run(command, env=environment, input=data, capture_output=True, check=False)


def progress(result: "subprocess.CompletedProcess[bytes]") -> list[dict[str, int]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


VOTES_OF_700 = sum(number % 5 for number in range(700))


async def test_posts_are_loaded_once_with_their_dates_and_votes(
    settings: ContentSettings, committed_posts: Posts, committing_client: httpx.AsyncClient
) -> None:
    lines = [line(number) for number in range(700)]
    first, second = run(settings, lines), run(settings, lines)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert [(step["read"], step["added"]) for step in progress(first)] == [(500, 500), (700, 700)]
    assert progress(first)[-1]["votes"] == VOTES_OF_700
    assert progress(second)[-1] == {"read": 700, "added": 0, "votes": 0}
    wrong = "SELECT 1 FROM posts WHERE votes <> (SELECT count(*) FROM votes WHERE post_id = posts.id)"
    assert await committed_posts.rows(wrong) == []
    top = (await committing_client.get("/posts", params={"sort": "top", "total": True})).json()
    assert top["total"] == 700
    assert {post["votes"] for post in top["items"]} == {4}
    one = next(post for post in top["items"] if post["title"] == "Title 694")
    assert one["owner"] == {"id": 501, "username": "author1"}
    assert one["content"] == "https://example.com/\t\\N"
    assert one["date"] == one["updated_at"] == "2015-09-06T03:56:00Z"
    cast = await committed_posts.rows("SELECT DISTINCT date FROM votes")
    assert [row[0].isoformat() for row in cast] == ["2015-09-06T03:56:00+00:00"]


async def test_a_post_that_was_deleted_may_be_loaded_again(settings: ContentSettings, committed_posts: Posts) -> None:
    run(settings, [line(1), line(2)])
    await committed_posts.execute("DELETE FROM posts WHERE title = 'Title 1'")
    assert progress(run(settings, [line(1), line(2)])) == [{"read": 2, "added": 1, "votes": 1}]


async def test_a_post_that_comes_twice_is_loaded_once(settings: ContentSettings, committed_posts: Posts) -> None:
    twice = [line(1), line(1, title="again"), line(1, source="elsewhere", title="other")]
    assert progress(run(settings, twice))[-1]["added"] == 2
    assert await committed_posts.rows("SELECT title FROM posts ORDER BY id") == [("Title 1",), ("other",)]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (line(600, title=" "), "title"),
        (line(600, title="x" * 301), "title"),
        (line(600, content="nul \0"), "content"),
        (line(600, date="yesterday"), "date"),
        (line(600, date="2015-09-06T05:56:00"), "date"),
        (line(600, voters=[1, 2, 1]), "voters"),
        (line(600, voters=[0]), "voters.0"),
        (line(600, external_id="600"), "external_id"),
        (line(600, author={"id": 1}), "author.username"),
        ({}, "source"),
        ("no object", "line"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_line_is_named_and_nothing_of_its_batch_stays(
    settings: ContentSettings, committed_posts: Posts, bad: object, field: str
) -> None:
    result = run(settings, [*[line(number) for number in range(600)], bad, line(601)])
    assert result.returncode == 1
    assert f"line 601: field {field}: " in result.stderr.decode()
    assert "Traceback" not in result.stderr.decode()
    assert [step["added"] for step in progress(result)] == [500]
    assert await committed_posts.rows("SELECT count(*) FROM posts") == [(500,)]


def test_bytes_that_are_no_json_are_named_too(settings: ContentSettings, committing_app: object) -> None:
    for data in (b"{", b'{"title": "\xff"}', b"\n"):
        result = run(settings, data)
        assert result.returncode == 1
        assert "line 1: field line: " in result.stderr.decode()
