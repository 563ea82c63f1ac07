"""The local stack as `make up` and `make load` run it, with the real parts and some of the real posts."""

import gzip
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from local_stack import LocalStack
from stack import join

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="another stack is tested"),
]
DATA = Path(__file__).parents[1] / "data" / "hacker_news.jsonl.gz"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalStack]:
    home = tmp_path / "state"
    home.mkdir()
    with LocalStack(home).running() as stack:
        yield stack


@pytest.mark.skipif(not DATA.exists(), reason="this project was made without the sample posts")
def test_real_posts_are_loaded_once_and_listed_in_order(local: LocalStack, tmp_path: Path) -> None:
    with gzip.open(DATA, "rt") as lines:
        posts = [json.loads(line) for line in itertools.islice(lines, 300)]
    authors = {post["author"] for post in posts}
    posts = [{**post, "points": min(post["points"], len(authors))} for post in posts]
    sample = tmp_path / "sample.jsonl"
    sample.write_text("\n".join(map(json.dumps, posts)))

    first, second = local.kpi("load", str(sample)), local.kpi("load", str(sample))
    assert "Added 300 of 300 posts" in first.stdout, first.stdout + first.stderr
    assert "Nothing to add" in second.stdout, second.stdout + second.stderr

    address = local.status()["gateway_url"]
    found = httpx.get(f"{address}/api/v1/posts", params={"sort": "top", "limit": 100, "total": True}).json()
    assert found["total"] == 300
    points = sorted((post["points"] for post in posts), reverse=True)
    assert [item["votes"] for item in found["items"]] == points[:100]
    word = posts[0]["title"].split()[0]
    titles = {item["title"] for item in search(address, word)}
    assert posts[0]["title"] in titles


def test_a_mail_becomes_a_file_that_the_log_names(local: LocalStack) -> None:
    with httpx.Client(base_url=f"{local.status()['gateway_url']}/api/v1", timeout=30) as client:
        anna = join(client, prefix="")
    line = local.wait_for(r"mail written.*verify_email")
    (file,) = (Path(local.status()["mails"])).glob("*verify_email*.eml")
    assert str(file) in line
    assert f"To: {anna.email}" in file.read_text()


def search(address: str, word: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = httpx.get(f"{address}/posts", params={"search": word, "limit": 100}).json()["items"]
    return items
