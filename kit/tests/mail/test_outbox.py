"""Mails that are enqueued in a transaction of PostgreSQL, and sent by a worker."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
import queue_support
from kpi_kit.crypt import CryptFake
from kpi_kit.mail import Mailer, Message, SendMail
from kpi_kit.queue import Queue, Retry
from kpi_shared.testing.postgres import create_database
from mail_servers import MailServer, serving

MESSAGE = Message(to="anna@example.com", subject="Hello", text="The code is 1234\n")


@pytest.fixture(scope="module")
def database(worker: str) -> str:
    url = create_database(f"kit_mail_{worker}")
    queue_support.create_schema(url)
    return url


@pytest.fixture
async def queue(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Queue]:
    """Without the pauses of real attempts."""
    retry = Retry(attempts=1000, first=timedelta(milliseconds=50), longest=timedelta(milliseconds=50))
    monkeypatch.setattr(SendMail, "job_options", replace(SendMail.job_options, retry=retry))
    queue_support.empty(database)
    async with queue_support.open_queue("postgresql", database) as opened:
        yield opened


async def test_a_mail_is_sent_if_and_only_if_the_transaction_commits(queue: Queue, database: str) -> None:
    async with serving(MailServer()) as server, Mailer.from_url(server.url, sender="shop@example.com") as mailer:
        mailer.use_queue(queue, cipher=CryptFake())
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await mailer.enqueue(replace(MESSAGE, to="never@example.com"), connection=connection)
            await connection.rollback()
            message_id = await mailer.enqueue(MESSAGE, connection=connection)
        with psycopg.connect(database) as reading:
            row = reading.execute("SELECT args::text FROM kpi_queue.procrastinate_jobs").fetchone()
        assert row is not None
        assert not any(word in row[0] for word in ("1234", "anna", "Hello"))
        async with queue.work("mails"):
            await queue_support.until_idle(queue)
    assert server.recipients == ["anna@example.com"]
    assert [message["Message-ID"] for message in server.messages] == [message_id]


async def test_mails_wait_for_a_server_that_is_away_hangs_or_refuses(queue: Queue, database: str) -> None:
    """No acknowledged mail is lost, and nothing is restarted."""
    async with serving(MailServer()) as away:
        url = away.url
    async with Mailer.from_url(url, sender="shop@example.com") as mailer:
        mailer.use_queue(queue)
        async with await psycopg.AsyncConnection.connect(database) as connection:
            ids = {await mailer.enqueue(MESSAGE, connection=connection) for _ in range(3)}
        async with queue.work("mails"):
            # Each mail has been attempted while no server listened.
            await queue_support.until(lambda: count_attempts(database) >= 6)
            server = MailServer(data_answer="451 4.3.0 disk full")
            async with serving(server, port=away.port):
                await asyncio.wait_for(server.reached.wait(), 20)
                server.data_answer = "250 OK"
                await queue_support.until_idle(queue)
    assert {message["Message-ID"] for message in server.messages} == ids
    assert await queue.failed() == []


def count_attempts(database: str) -> int:
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT coalesce(sum(attempts), 0) FROM kpi_queue.procrastinate_jobs").fetchone()
    return int(row[0]) if row else 0
