"""The worker on real connections: what is sent, what is retried, and what is not sent twice."""

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from auth_support import context_with
from kpi_auth.app import create_app
from kpi_auth.context import Context
from kpi_auth.mails import outbox, repository
from kpi_auth.mails.models import DeliveryOutcome, LeasedMail, MailState
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.mails.worker import MAX_ATTEMPTS, MailWorker, MailWorkerTimes, delay_after
from kpi_auth.settings import AuthSettings
from kpi_kit.mail.contract import NO_HOOKS, Hooks, Letter
from kpi_shared.database import Database
from kpi_shared.testing.client import running
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import start_part
from mail_servers import MailServer, serving
from mail_support import ANNA, LINK, WatchedDatabase, close_to_all, execute, put, rows, smtp, until
from pydantic import SecretStr
from sqlalchemy import text

# No test waits for the clock: leases are long and polls are short.
QUICK = MailWorkerTimes(poll=0.01, lease=600, lanes=4, grace=30)


@pytest.fixture(scope="module")
def mail_settings(worker: str, secret_key: str, tmp_path_factory: pytest.TempPathFactory) -> AuthSettings:
    """A separate database, since these tests commit."""
    return AuthSettings(
        database_url=SecretStr(create_migrated_database("kpi_auth", f"mails_{worker}")),
        paseto_secret_key=SecretStr(secret_key),
        mail_url=SecretStr(tmp_path_factory.mktemp("mails").as_uri()),
        mail_from="KPI-One <no-reply@kpi.example.com>",
    )


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


async def run_once(worker: MailWorker) -> None:
    """Lease the due mails once and wait until they are settled."""
    await worker._start_due()
    await asyncio.gather(*worker._in_flight._tasks)


@asynccontextmanager
async def running_worker(worker: MailWorker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        await worker.finish()


async def test_a_mail_of_a_committed_transaction_is_sent_and_its_content_deleted(
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
        await run_once(MailWorker(database, mail_settings, smtp(server), QUICK))
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
        (MailServer(hangs=True), "pending", "the mail server did not respond in time"),
    ],
)
async def test_a_final_refusal_makes_a_mail_dead_and_any_other_failure_postpones_it(
    database: Database, context: Context, mail_settings: AuthSettings, server: MailServer, state: str, error: str
) -> None:
    await put(database, context, ANNA)
    async with serving(server):
        await run_once(MailWorker(database, mail_settings, smtp(server, seconds=0.3 if server.hangs else 30), QUICK))
    (row,) = await rows(database)
    assert (row.state, row.last_error, row.attempts) == (state, error, 1)
    # The content is kept, for the next attempt or for an admin's retry.
    assert row.content is not None
    assert (row.settled_at is None) == (state == "pending")
    assert state == "dead" or 0 < row.wait <= 10


async def test_a_mail_that_may_have_arrived_is_sent_again_with_the_same_message_id(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    await put(database, context, ANNA)
    async with serving(MailServer(drops=True)) as server:
        sender = MailWorker(database, mail_settings, smtp(server), QUICK)
        await run_once(sender)
        assert (await rows(database))[0].state == "pending"
        server.drops = False
        await execute(database, "UPDATE mails SET due_at = now()")
        await run_once(sender)
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
    all_received = asyncio.Event()

    class CountingServer(MailServer):
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 the library's name
            response = await super().handle_DATA(server, session, envelope)
            if len(self.contents) >= len(names):
                all_received.set()
            return response

    try:
        async with serving(CountingServer()) as server:
            replicas = [MailWorker(one, mail_settings, smtp(server), QUICK) for one in (database, other)]
            async with running_worker(replicas[0]), running_worker(replicas[1]), asyncio.timeout(60):
                await all_received.wait()
            await run_once(replicas[0])
    finally:
        await other.close()
    assert Counter(server.recipients) == Counter(names)
    assert {(row.state, row.attempts) for row in await rows(database)} == {("sent", 1)}


async def test_a_killed_worker_loses_no_mail_and_its_late_outcome_is_ignored(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    await put(database, context, ANNA)
    async with database.writing() as connection:
        # The state that a worker leaves if it is killed while it sends.
        (leased,) = await repository.lease(connection, most=4, seconds=600)
    async with serving(MailServer()) as server:
        sender = MailWorker(database, mail_settings, smtp(server), QUICK)
        await run_once(sender)
        assert server.contents == []
        await execute(database, "UPDATE mails SET due_at = now()")
        await run_once(sender)
    assert server.recipients == ["anna@example.com"]
    async with database.writing() as connection:
        assert not await repository.settle(connection, leased, DeliveryOutcome(MailState.DEAD, "too late"))
    assert (await rows(database))[0].state == "sent"


async def test_a_mail_cannot_be_settled_with_a_previous_lease(database: Database, context: Context) -> None:
    """Not even if an admin's retry has reset the number of attempts."""
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
        assert not await repository.settle(connection, leases[0], DeliveryOutcome(MailState.SENT))
        assert await repository.settle(connection, leases[1], DeliveryOutcome(MailState.SENT))


async def test_a_server_that_hangs_for_one_mail_delays_no_other(
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
        async with running_worker(MailWorker(database, mail_settings, smtp(server), QUICK)):
            await until(lambda: len(server.contents) == len(others))
            assert ANNA.to not in server.recipients
            server.released.set()
        # The worker stopped while the last mail was in flight, and the grace period was long enough for it.
        assert ANNA.to in server.recipients
    assert {row.state for row in await rows(database)} == {"sent"}


async def test_stopping_abandons_a_hanging_server_and_the_mail_is_due_again_soon(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    await put(database, context, ANNA)
    async with serving(MailServer(hangs=True)) as server:
        impatient = MailWorker(database, mail_settings, smtp(server), QUICK._replace(grace=0.05))
        async with running_worker(impatient):
            await server.reached.wait()
    (row,) = await rows(database)
    assert (row.state, row.attempts, row.last_error) == ("pending", 1, "the service stopped during the attempt")
    assert row.wait <= 10


async def test_the_worker_waits_for_an_unreachable_database_before_and_after_sending(
    context: Context, mail_settings: AuthSettings
) -> None:
    database = WatchedDatabase(mail_settings)
    name = urlsplit(mail_settings.database_url.get_secret_value()).path.removeprefix("/")
    await put(database, context, ANNA)
    try:
        async with serving(MailServer(hangs=True)) as server:
            sender = MailWorker(database, mail_settings, smtp(server), QUICK)
            async with running_worker(sender):
                await server.reached.wait()
                close_to_all(name, closed=True)
                await database.missed.wait()
                # The server has accepted the mail, but the worker cannot store that yet.
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
    """A transport with an error in its code."""

    async def send(self, letter: Letter, hooks: Hooks = NO_HOOKS) -> None:
        await hooks.begin_content()
        raise ZeroDivisionError(letter.template)


async def test_an_error_in_our_code_loses_no_mail(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    await put(database, context, ANNA)
    await run_once(MailWorker(database, mail_settings, Broken(), QUICK))
    (row,) = await rows(database)
    assert (row.state, row.last_error) == ("pending", "ZeroDivisionError")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("expires_at = now() - interval '1 second'", "expired before it was sent"),
        ("content = 'v4.local.changed'", "cannot be rendered: UnreadableMailError"),
        ("content = NULL", "cannot be rendered: UnreadableMailError"),
        ("template = 'reset_password', content = :other", "cannot be rendered: UndefinedError"),
        ("template = '../../settings.py'", "cannot be rendered: TemplateNotFound"),
        ("recipient = E'anna@example.com\\r\\nBcc: eve@example.com'", "cannot be rendered: ValueError"),
    ],
)
async def test_a_mail_that_cannot_be_rendered_is_dead_immediately(
    database: Database, context: Context, mail_settings: AuthSettings, change: str, error: str
) -> None:
    await put(database, context, Mail(Template.SESSIONS_ENDED, "other@example.com", {"username": "other"}))
    other = (await rows(database))[0].content
    await execute(database, "TRUNCATE mails")
    await put(database, context, ANNA)
    await execute(database, f"UPDATE mails SET {change}", **({"other": other} if ":other" in change else {}))  # noqa: S608 the lines above
    async with serving(MailServer()) as server:
        await run_once(MailWorker(database, mail_settings, smtp(server), QUICK))
    (row,) = await rows(database)
    assert (row.state, row.last_error) == ("dead", error)
    assert server.contents == []


async def test_a_mail_that_failed_too_often_is_given_up(
    database: Database, context: Context, mail_settings: AuthSettings
) -> None:
    await put(database, context, ANNA)
    await execute(database, "UPDATE mails SET attempts = :attempts", attempts=MAX_ATTEMPTS - 1)
    async with serving(MailServer(recipient_answer="450 later")) as server:
        await run_once(MailWorker(database, mail_settings, smtp(server), QUICK))
    assert (await rows(database))[0].state == "dead"


async def test_a_mail_encrypted_with_a_previous_key_is_still_sent(
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
        await run_once(MailWorker(database, rotated, smtp(server), QUICK))
    assert len(server.contents) == 1


def test_delays_double_up_to_an_hour() -> None:
    for attempt, longest in [(1, 10), (2, 20), (5, 160), (9, 2560), (10, 3600), (1000, 3600)]:
        delays = {delay_after(attempt) for _ in range(50)}
        assert longest * 0.75 <= min(delays) < max(delays) <= longest


def test_a_lease_outlasts_two_failed_renewals_and_ends_soon_after_a_crash() -> None:
    times = MailWorkerTimes()
    assert 3 * times.renewal < times.lease <= 10


async def test_the_service_sends_mails_and_logs_their_path_but_not_their_content(
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
    # People copy the link from the file, so no line of the text is wrapped or encoded.
    assert LINK in file.read_text()
    logged = log.read_text()
    assert re.search(rf"mail written .*{re.escape(str(file))}", re.sub(r"\x1b\[[0-9;]*m", "", logged))
    assert "abc123" not in logged
    assert ANNA.to not in logged
    assert "Traceback" not in logged


@pytest.mark.parametrize("change", [{"mail_url": None}, {"mail_worker": False}])
async def test_a_service_that_is_not_configured_to_send_mails_runs_no_worker(
    mail_settings: AuthSettings, change: dict[str, object]
) -> None:
    before = asyncio.all_tasks()
    async with running(create_app(mail_settings.model_copy(update=change))):
        names = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}  # type: ignore[union-attr]
    assert "MailWorker.run" not in names
