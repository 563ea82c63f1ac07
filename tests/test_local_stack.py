"""The local stack as `make up` and `make load` run it, with the real parts and some of the real posts."""

import gzip
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from kpi_shared.testing.process import clean_environment, free_port
from stack import join

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="another stack is tested"),
]
DATA = Path(__file__).parents[1] / "data" / "hacker_news.jsonl.gz"
TIMEOUT_SECONDS = 120


class LocalStack:
    """A `kpi up` with its state in the test's own folder."""

    def __init__(self, home: Path) -> None:
        self._environment = clean_environment({"KPI_HOME": str(home), "GATEWAY_PORT": str(free_port())})
        self._log = home.parent / "up.log"

    def kpi(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "kpi_cli", *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False, timeout=120)

    def start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("wb") as output:
            command = [sys.executable, "-m", "kpi_cli", "up"]
            process = subprocess.Popen(command, env=self._environment, stdout=output, stderr=output)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while "KPI-One is up" not in self._log.read_text():
            assert process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)
        return process

    def wait_for(self, pattern: str) -> str:
        """Wait for a line of output that matches, and return it without colours."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            said = re.sub(r"\x1b\[[0-9;]*m", "", self._log.read_text())
            if found := re.search(f".*{pattern}.*", said):
                return found[0]
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kpi("status", "-o", "json").stdout)
        return found


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalStack]:
    home = tmp_path / "state"
    home.mkdir()
    stack = LocalStack(home)
    process = stack.start()
    yield stack
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


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
