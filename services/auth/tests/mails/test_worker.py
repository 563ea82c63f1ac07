"""The worker on real connections: what is sent, what is tried again, and what is not sent twice."""

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from auth_support import context_with
from kpi_auth.app import create_app
from kpi_auth.context import Context
from kpi_auth.mails import outbox, repository
from kpi_auth.mails.models import LeasedMail, MailState, Outcome
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.mails.transports import Letter, SmtpTransport
from kpi_auth.mails.worker import MAX_ATTEMPTS, MailWorker, MailWorkerTimes, delay_after
from kpi_auth.settings import PART, AuthSettings
from kpi_shared.database import Database
from kpi_shared.migrations import upgrade
from kpi_shared.testing.client import running
from kpi_shared.testing.postgres import create_database
from kpi_shared.testing.process import start_part
from mail_support import ANNA, LINK, MailServer, WatchedDatabase, close_to_all, execute, put, rows, serving, smtp, until
from pydantic import SecretStr
from sqlalchemy import text

# Nothing waits for the clock where it need not: leases last, and rests are short.
QUICK = MailWorkerTimes(poll=0.01, lease=600, lanes=4, grace=30)


@pytest.fixture(scope="module")
def mail_settings(worker: str, secret_key: str, tmp_path_factory: pytest.TempPathFactory) -> AuthSettings:
    """A database of these tests' own, since they commit."""
    settings = AuthSettings(
        database_url=SecretStr(create_database(f"mails_{worker}")),
        paseto_secret_key=SecretStr(secret_key),
        mail_url=SecretStr(tmp_path_factory.mktemp("mails").as_uri()),
        mail_from="KPI-One <no-reply@kpi.example.com>",
    )
    upgrade(PART, settings)
    return settings


@pytest.fixture
async def database(mail_settings: AuthSettings) -> AsyncIterator[Database]:
    database = Database(mail_settings)
    yield database
    async with database.writing() as connection:
        await connection.execute(text("TRUNCATE mails"))
    await database.close()


@pytest.fixture
def context(mail_settings: AuthSettings, database: Database) -> Context:
    return context_with(mail_settings, database)


async def turn(worker: MailWorker) -> None:
    """One look into the outbox, and all that comes of it."""
    await worker._start_due()
    await asyncio.gather(*worker._in_flight._tasks)


@asynccontextmanager
async def at_work(worker: MailWorker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        await worker.finish()


async def test_a_mail_of_a_committed_transaction_is_sent_and_its_secret_forgotten(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    class RolledBackError(Exception):
        pass

    with suppress(RolledBackError):
        async with database.writing() as connection:
            await outbox.put(
                context, connection, Mail(Template.SESSIONS_ENDED, "never@example.com", {"username": "never"})
            )
            raise RolledBackError
    await put(database, context, ANNA)
    async with serving(MailServer()) as server:
        await turn(MailWorker(database, mail_settings, smtp(server), QUICK))
    assert server.recipients == ["anna@example.com"]
    message = server.messages[0]
    assert message["From"] == "KPI-One <no-reply@kpi.example.com>"
    assert LINK in message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    (row,) = await rows(database)
    assert (row.state, row.content, row.attempts) == ("sent", None, 1)
    assert row.settled_at is not None


@pytest.mark.parametrize(
    ("server", "state", "error"),
    [
        (MailServer(recipient_answer="550 5.1.1 no such mailbox"), "dead", "550 5.1.1 no such mailbox"),
        (MailServer(data_answer="554 5.7.1 refused"), "dead", "554 5.7.1 refused"),
        (MailServer(recipient_answer="450 4.2.1 later"), "pending", "450 4.2.1 later"),
        (MailServer(hangs=True), "pending", "the mail server did not answer in time"),
    ],
)
async def test_a_final_refusal_kills_and_any_other_failure_puts_off(
    database: Database, context: Context, mail_settings: AuthSettings, server: MailServer, state: str, error: str
) -> None:
    await put(database, context, ANNA)
    async with serving(server):
        await turn(MailWorker(database, mail_settings, smtp(server, seconds=0.3 if server.hangs else 30), QUICK))
    (row,) = await rows(database)
    assert (row.state, row.last_error, row.attempts) == (state, error, 1)
    # What is in it stays, for the next time or for an admin's retry.
    assert row.content is not None
    assert (row.settled_at is None) == (state == "pending")
    assert state == "dead" or 0 < row.wait <= 10


async def test_a_mail_that_may_have_arrived_comes_again_under_the_same_message_id(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    await put(database, context, ANNA)
    async with serving(MailServer(drops=True)) as server:
        sender = MailWorker(database, mail_settings, smtp(server), QUICK)
        await turn(sender)
        assert (await rows(database))[0].state == "pending"
        server.drops = False
        await execute(database, "UPDATE mails SET due_at = now()")
        await turn(sender)
    assert (await rows(database))[0].state == "sent"
    first, second = server.messages
    assert first["Message-ID"] == second["Message-ID"]
    assert first["Message-ID"].endswith("@kpi.example.com>")
    assert first["Date"] == second["Date"]


async def test_two_replicas_send_fifty_mails_once_each(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    names = [f"user{number}@example.com" for number in range(50)]
    await put(
        database,
        context,
        *[Mail(Template.SESSIONS_ENDED, name, {"username": name.partition("@")[0]}) for name in names],
    )
    other = Database(mail_settings)
    counted = asyncio.Event()

    class Counting(MailServer):
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 the library's name
            answer = await super().handle_DATA(server, session, envelope)
            if len(self.contents) >= len(names):
                counted.set()
            return answer

    try:
        async with serving(Counting()) as server:
            replicas = [MailWorker(one, mail_settings, smtp(server), QUICK) for one in (database, other)]
            async with at_work(replicas[0]), at_work(replicas[1]), asyncio.timeout(60):
                await counted.wait()
            await turn(replicas[0])
    finally:
        await other.close()
    assert Counter(server.recipients) == Counter(names)
    assert {(row.state, row.attempts) for row in await rows(database)} == {("sent", 1)}


async def test_a_worker_that_is_killed_loses_nothing_and_its_late_word_does_not_count(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    await put(database, context, ANNA)
    async with database.writing() as connection:
        # As far as a worker gets that is killed while it sends.
        (leased,) = await repository.lease(connection, most=4, seconds=600)
    async with serving(MailServer()) as server:
        sender = MailWorker(database, mail_settings, smtp(server), QUICK)
        await turn(sender)
        assert server.contents == []
        await execute(database, "UPDATE mails SET due_at = now()")
        await turn(sender)
    assert server.recipients == ["anna@example.com"]
    async with database.writing() as connection:
        assert not await repository.settle(connection, leased, Outcome(MailState.DEAD, "too late"))
    assert (await rows(database))[0].state == "sent"


async def test_a_lease_that_passed_on_is_not_settled_by_who_had_it(database: Database, context: Context) -> None:
    """Also where an admin's retry has set the count of attempts back."""
    await put(database, context, ANNA)
    leases: list[LeasedMail] = []
    for _ in range(2):
        async with database.writing() as connection:
            leases += await repository.lease(connection, most=1, seconds=600)
        await execute(
            database,
            "UPDATE mails SET attempts = 0, due_at = now() WHERE attempts = 1 AND :first",
            first=len(leases) == 1,
        )
    assert [lease.attempts for lease in leases] == [1, 1]
    async with database.writing() as connection:
        assert not await repository.settle(connection, leases[0], Outcome(MailState.SENT))
        assert await repository.settle(connection, leases[1], Outcome(MailState.SENT))


async def test_a_server_that_hangs_for_one_holds_up_no_other(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    class HangsForAnna(MailServer):
        async def handle_RCPT(  # noqa: N802 the library's name
            self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
        ) -> str:
            if address == ANNA.to:
                await self.released.wait()
            return await super().handle_RCPT(server, session, envelope, address, options)

    others = [Mail(Template.SESSIONS_ENDED, f"user{number}@example.com", {"username": "user"}) for number in range(9)]
    await put(database, context, ANNA, *others)
    async with serving(HangsForAnna()) as server:
        async with at_work(MailWorker(database, mail_settings, smtp(server), QUICK)):
            await until(lambda: len(server.contents) == len(others))
            assert ANNA.to not in server.recipients
            server.released.set()
        # It stopped while the last one was on its way, which had time enough.
        assert ANNA.to in server.recipients
    assert {row.state for row in await rows(database)} == {"sent"}


async def test_stopping_leaves_a_hanging_server_and_the_mail_is_due_again_soon(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    await put(database, context, ANNA)
    async with serving(MailServer(hangs=True)) as server:
        hasty = MailWorker(database, mail_settings, smtp(server), QUICK._replace(grace=0.05))
        async with at_work(hasty):
            await server.reached.wait()
    (row,) = await rows(database)
    assert (row.state, row.attempts, row.last_error) == ("pending", 1, "the service stopped meanwhile")
    assert row.wait <= 10


async def test_a_database_that_is_away_is_waited_for_before_and_after_a_mail_is_sent(
    context: Context, mail_settings: AuthSettings
) -> None:
    database = WatchedDatabase(mail_settings)
    name = urlsplit(mail_settings.database_url.get_secret_value()).path.removeprefix("/")
    await put(database, context, ANNA)
    try:
        async with serving(MailServer(hangs=True)) as server:
            sender = MailWorker(database, mail_settings, smtp(server), QUICK)
            async with at_work(sender):
                await server.reached.wait()
                close_to_all(name, closed=True)
                await database.missed.wait()
                # The server has the mail, and nobody can write that down yet.
                server.released.set()
                server.hangs = False
                database.missed.clear()
                await database.missed.wait()
                close_to_all(name, closed=False)
                await put(database, context, Mail(Template.SESSIONS_ENDED, "next@example.com", {"username": "next"}))
                await until(lambda: len(server.contents) == 2)
        assert server.recipients == ["anna@example.com", "next@example.com"]
        assert [(row.state, row.attempts) for row in await rows(database)] == [("sent", 1), ("sent", 1)]
        await execute(database, "TRUNCATE mails")
    finally:
        close_to_all(name, closed=False)
        await database.close()


class Broken:
    """A transport with a mistake in it."""

    async def send(self, letter: Letter) -> None:
        raise ZeroDivisionError(letter.template)


async def test_a_mistake_of_ours_loses_no_mail(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    await put(database, context, ANNA)
    await turn(MailWorker(database, mail_settings, Broken(), QUICK))
    (row,) = await rows(database)
    assert (row.state, row.last_error) == ("pending", "ZeroDivisionError")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("expires_at = now() - interval '1 second'", "too old to be of use"),
        ("content = 'v4.local.changed'", "cannot be written: UnreadableMailError"),
        ("content = NULL", "cannot be written: UnreadableMailError"),
        ("template = 'reset_password', content = :other", "cannot be written: UndefinedError"),
        ("template = '../../settings.py'", "cannot be written: TemplateNotFound"),
        ("recipient = E'anna@example.com\\r\\nBcc: eve@example.com'", "cannot be written: ValueError"),
    ],
)
async def test_what_will_never_be_a_mail_is_dead_at_once(
    database: Database, context: Context, mail_settings: AuthSettings, change: str, error: str
) -> None:
    await put(database, context, Mail(Template.SESSIONS_ENDED, "other@example.com", {"username": "other"}))
    other = (await rows(database))[0].content
    await execute(database, "TRUNCATE mails")
    await put(database, context, ANNA)
    await execute(database, f"UPDATE mails SET {change}", **({"other": other} if ":other" in change else {}))  # noqa: S608 the lines above
    async with serving(MailServer()) as server:
        await turn(MailWorker(database, mail_settings, smtp(server), QUICK))
    (row,) = await rows(database)
    assert (row.state, row.last_error) == ("dead", error)
    assert server.contents == []


async def test_a_mail_that_failed_too_often_is_given_up(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    await put(database, context, ANNA)
    await execute(database, "UPDATE mails SET attempts = :attempts", attempts=MAX_ATTEMPTS - 1)
    async with serving(MailServer(recipient_answer="450 later")) as server:
        await turn(MailWorker(database, mail_settings, smtp(server), QUICK))
    assert (await rows(database))[0].state == "dead"


async def test_a_mail_sealed_with_the_key_before_is_still_sent(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    await put(database, context, ANNA)
    rotated = mail_settings.model_copy(
        update={
            "paseto_secret_key": SecretStr(secrets.token_hex(32)),
            "paseto_previous_keys": (mail_settings.paseto_secret_key,),
        }
    )
    async with serving(MailServer()) as server:
        await turn(MailWorker(database, rotated, smtp(server), QUICK))
    assert len(server.contents) == 1


def test_delays_double_up_to_an_hour() -> None:
    for attempt, longest in [(1, 10), (2, 20), (5, 160), (9, 2560), (10, 3600), (1000, 3600)]:
        delays = {delay_after(attempt) for _ in range(50)}
        assert longest * 0.75 <= min(delays) < max(delays) <= longest


def test_a_lease_outlasts_a_send() -> None:
    assert timedelta(seconds=MailWorkerTimes().lease) > timedelta(
        seconds=SmtpTransport.__init__.__kwdefaults__["seconds"] + 30
    )


async def test_the_service_sends_by_itself_and_logs_where_a_mail_lies_and_no_word_of_it(
    database: Database, context: Context, mail_settings: AuthSettings, tmp_path: Path
) -> None:
    folder, log = tmp_path / "mails", tmp_path / "auth.log"
    environment = {
        "DATABASE_URL": mail_settings.database_url.get_secret_value(),
        "PASETO_SECRET_KEY": mail_settings.paseto_secret_key.get_secret_value(),
        "MAIL_URL": folder.as_uri(),
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "console",
    }
    await put(database, context, ANNA)
    # Reading a process's files needs no event loop, and nothing else runs in this one.
    with start_part("kpi_auth", environment, log=log):
        await until(lambda: "mail sent" in log.read_text())
    (file,) = await asyncio.to_thread(lambda: list(folder.iterdir()))
    # What stands in the file is what people copy: no line of the text is broken or encoded.
    assert LINK in file.read_text()
    logged = log.read_text()
    assert re.search(rf"mail written .*{re.escape(str(file))}", re.sub(r"\x1b\[[0-9;]*m", "", logged))
    assert "abc123" not in logged
    assert ANNA.to not in logged
    assert "Traceback" not in logged


@pytest.mark.parametrize("change", [{"mail_url": None}, {"mail_worker": False}])
async def test_a_service_that_is_not_to_send_leaves_mails_alone(
    mail_settings: AuthSettings, change: dict[str, object]
) -> None:
    before = asyncio.all_tasks()
    async with running(create_app(mail_settings.model_copy(update=change))):
        names = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}  # type: ignore[union-attr]
    assert "MailWorker.run" not in names
