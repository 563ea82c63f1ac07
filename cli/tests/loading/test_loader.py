"""``kpi load`` into a running and a stopped stack, with stand-ins for the parts."""

import gzip
import itertools
import json
from pathlib import Path

import pytest
from cli_harness import Checkout

# The tests of one worker share a database, so each file of posts has numbers of its own.
NUMBERS = itertools.count(1)


def post(author: str, points: object, title: str = "A title") -> str:
    fields = {"title": title, "url": "", "comments": 0, "created_at": "2015-09-06T05:56Z"}
    return json.dumps({"id": next(NUMBERS), "author": author, "points": points, **fields}) + "\n"


@pytest.fixture
def posts(checkout: Checkout) -> Path:
    file = checkout.folder / "posts.jsonl.gz"
    file.write_bytes(gzip.compress((post("ada", 2) + post("grace", 0) + post("ada", 1)).encode()))
    return file


def test_load_into_a_stopped_stack_adds_once(checkout: Checkout, posts: Path) -> None:
    first = checkout.kpi("load", str(posts))
    second = checkout.kpi("load", str(posts))
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert f"Added 3 of 3 posts of {posts.name}, with 3 votes." in first.stdout
    assert "Nothing to add" in second.stdout
    assert checkout.processes() == []


def test_load_into_a_running_stack_keeps_it_running(checkout: Checkout, posts: Path) -> None:
    stack = checkout.up().wait_until_ready()
    result = checkout.kpi("load", str(posts))
    assert result.returncode == 0, result.stderr
    assert "Added 3 of 3" in result.stdout
    assert stack.get("/") == b"ok"
    assert stack.stop() == 0


def test_bad_line_stops_the_load_before_anything_starts(checkout: Checkout) -> None:
    file = checkout.folder / "posts.jsonl"
    file.write_text(post("ada", 1) + post("ada", "many"))
    result = checkout.kpi("load", str(file))
    assert result.returncode == 1
    assert f"kpi: load: {file.name} line 2: field points: a whole number is required, not a string" in result.stderr
    assert "its database is started" not in result.stderr


def test_a_post_that_content_refuses_stops_the_load_before_any_user_is_imported(checkout: Checkout) -> None:
    file = checkout.folder / "posts.jsonl"
    file.write_text(post("ada", 1) + "\n" + post("grace", 1, title="\u200b"))
    result = checkout.kpi("load", str(file))
    assert result.returncode == 1
    assert f"kpi: load: {file.name} line 3: field title: a visible character is required" in result.stderr
    assert "nothing has been loaded" in result.stderr
    assert not (checkout.orders / "users-imported").exists()


def test_failed_import_is_reported_with_the_part_and_its_last_lines(checkout: Checkout, posts: Path) -> None:
    checkout.order("no-import-content")
    result = checkout.kpi("load", str(posts))
    assert result.returncode == 1
    assert "kpi: content: import-posts ended with exit code 1" in result.stderr
    assert "content | kpi-stand-in: this import fails" in result.stderr
    assert "Traceback" not in result.stderr
    assert checkout.processes() == []


def test_disk_that_fills_during_an_import_is_reported(checkout: Checkout, posts: Path) -> None:
    checkout.order("full-disk-content")
    result = checkout.kpi("load", str(posts))
    assert result.returncode == 1
    assert "kpi: disk: it is full: import-posts ended" in result.stderr
    assert "Fix: free some space, then run the same command again" in result.stderr
