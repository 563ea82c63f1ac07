"""``kpi queue`` on the database of a service whose migrations have made the schema of the queue."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from io import BytesIO, TextIOWrapper
from pathlib import Path

import psycopg
import pytest
from kpi_cli.errors import FailureError
from kpi_cli.queue_commands import app
from kpi_kit.queue import Job, Queue, Retry, Run
from kpi_kit.queue.schema import upgrade_sql
from kpi_kit.settings import KitSettings
from kpi_shared import queue_commands
from kpi_shared.parts import Part
from kpi_shared.settings import ServiceSettings
from kpi_shared.testing.postgres import create_migrated_database

_KPI = Path(sys.executable).with_name("kpi")


class ShopSettings(ServiceSettings, KitSettings):
    pass


class Fails(Job, retry=Retry(attempts=1)):
    text: str


@pytest.fixture
def url(worker: str) -> str:
    return create_migrated_database("kpi_content", f"queue_commands_{worker}")


def kpi(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = os.environ | {"DATABASE_URL": url, "APP_ENV": "development"}
    return subprocess.run([_KPI, *arguments], env=settings, capture_output=True, text=True, check=False)


async def test_failed_jobs_are_listed_and_retried(url: str) -> None:
    missing = kpi(url, "queue", "status", "-s", "content")
    assert missing.returncode == 1
    assert "content: it has no queue" in missing.stderr
    with psycopg.connect(url) as connection:
        connection.execute(upgrade_sql())

    async def fail(_job: Fails, _run: Run) -> None:
        raise ConnectionError("payload-content")

    queue = Queue.from_url(url)
    queue.handle(Fails, fail)
    async with queue:
        pushed = await queue.chain([Fails(text="payload-content"), Fails(text="b")])
        async with queue.work(grace=timedelta(seconds=5)):
            while not await queue.failed():
                pass
        listed = kpi(url, "queue", "failed", "-s", "content", "--json")
        (job,) = json.loads(listed.stdout)["jobs"]
        assert (job["id"], job["name"], job["error"], job["stopped"]) == (
            pushed.id,
            "Fails",
            "ConnectionError",
            ["Fails"],
        )
        assert "payload-content" not in listed.stdout + listed.stderr
        retried = kpi(url, "queue", "retry", str(pushed.id), "-s", "content")
        assert retried.stdout == "kpi: content: jobs that start anew: 1\n", retried.stderr
        assert [each.waiting for each in await queue.status()] == [1]
        forgotten = kpi(url, "queue", "forget", str(pushed.id), "-s", "content")
        assert forgotten.stdout == "kpi: content: jobs removed: 0\n", forgotten.stderr
    fresh = kpi(url, "db", "fresh", "-s", "content", "--yes")
    assert fresh.returncode == 0, fresh.stderr
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regnamespace('kpi_queue')").fetchone() == (None,)


def test_a_retry_says_which_jobs() -> None:
    for words, problem in (
        (["7"], "each service"),
        (["-s", "content"], "no jobs are named"),
        (["7", "--all"], "either"),
    ):
        with pytest.raises(FailureError, match=problem) as caught:
            app(["retry", *words], standalone_mode=False)
        assert caught.value.code == 2


def test_the_queue_of_a_service_with_the_kit_is_where_its_settings_say(
    url: str, worker: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The database of the service has no queue there."""
    queue = create_migrated_database("kpi_content", f"queue_elsewhere_{worker}")
    with psycopg.connect(queue) as connection:
        connection.execute(upgrade_sql())
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("QUEUE_URL", queue)
    part = Part("shop", "kpi_content", 1)
    for of_service, found in ((ShopSettings, "queues"), (ServiceSettings, "missing")):
        monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO()))
        assert queue_commands.run(part, queue_commands.settings_of(part, of_service).load(), "show-queues") == 0
        assert list(json.loads(capsys.readouterr().out)) == [found]
