"""What the housekeeping deletes, and what it keeps."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
from auth_support import Accounts
from kpi_auth.app import create_app
from kpi_auth.housekeeping import tidy
from kpi_auth.settings import AuthSettings
from kpi_shared.testing.client import running

NOW = datetime.now(UTC)
_MAIL = """
    INSERT INTO mails (recipient, template, content, state, settled_at, expires_at, created_at)
    VALUES (:name, 'reset_password', 'x', :state, :settled, :expires, :created)
"""
_CODE = """
    INSERT INTO one_time_codes (user_id, purpose, code_hash, email, expires_at)
    VALUES (:id, 'verify_email', sha256(convert_to(:name, 'UTF8')), :name, :at)
"""
_ATTEMPT = "INSERT INTO attempts (key, times, forget_at) VALUES (convert_to(:name, 'UTF8'), '{}', :at)"
_SESSION = """
    INSERT INTO sessions (user_id, secret, created_at, used_at, ended_at, end_reason, user_agent)
    VALUES (:id, sha256('x'), :created, :used, CAST(:ended AS timestamptz),
        CASE WHEN CAST(:ended AS timestamptz) IS NOT NULL THEN 'logout' END, :name)
"""


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


async def find_names(accounts: Accounts, column: str, table: str) -> object:
    """The names that the test has set: those that contain a space."""
    statement = f"SELECT array_agg({column} ORDER BY {column}) FROM {table} WHERE {column} LIKE '% %'"  # noqa: S608 a test's
    return await accounts.scalar(statement)


async def run_housekeeping(accounts: Accounts, settings: AuthSettings) -> dict[str, int]:
    """Run the housekeeping in steps of one row, so that it needs more than one step."""
    return await tidy(accounts.app.state.database, settings, most=1)


async def test_settled_mails_are_deleted_after_a_month_and_pending_ones_never(
    accounts: Accounts, settings: AuthSettings
) -> None:
    mails = [
        ("sent long ago", "sent", ago(31)),
        ("dead for long", "dead", ago(31)),
        ("dead too long", "dead", ago(500)),
        ("sent recently", "sent", ago(29)),
        ("dead recently", "dead", ago(29)),
        ("waits for ever", "pending", None),
    ]
    for name, state, settled in mails:
        await accounts.execute(_MAIL, name=name, state=state, settled=settled, expires=None, created=ago(500))
    assert (await run_housekeeping(accounts, settings))["mails"] == 3
    assert await find_names(accounts, "recipient", "mails") == ["dead recently", "sent recently", "waits for ever"]


async def test_the_content_of_a_dead_mail_is_deleted_when_it_expires(
    accounts: Accounts, settings: AuthSettings
) -> None:
    for name, state, expires in [
        ("dead, expired", "dead", ago(0.01)),
        ("dead, works", "dead", ago(-0.01)),
        ("dead, a notice", "dead", None),
        # The worker has not leased it yet; it is the worker that marks an expired mail as dead.
        ("waits, expired", "pending", ago(0.01)),
    ]:
        settled = NOW if state == "dead" else None
        await accounts.execute(_MAIL, name=name, state=state, settled=settled, expires=expires, created=ago(1))
    assert (await run_housekeeping(accounts, settings))["contents"] == 1
    emptied = "SELECT array_agg(recipient) FROM mails WHERE content IS NULL"
    assert await accounts.scalar(emptied) == ["dead, expired"]


async def test_expired_codes_and_attempts_are_deleted(accounts: Accounts, settings: AuthSettings) -> None:
    user = await accounts.add("anna")
    await accounts.execute("DELETE FROM attempts")
    for name, at in [("is over", ago(0.01)), ("is alive", ago(-0.01))]:
        await accounts.execute(_CODE, id=user.id, name=name, at=at)
        await accounts.execute(_ATTEMPT, name=name, at=at)
    deleted = await run_housekeeping(accounts, settings)
    assert (deleted["codes"], deleted["attempts"]) == (1, 1)
    assert await find_names(accounts, "email", "one_time_codes") == ["is alive"]
    assert await find_names(accounts, "encode(key, 'escape')", "attempts") == ["is alive"]


async def test_sessions_are_deleted_a_month_after_their_end(
    accounts: Accounts, client: httpx.AsyncClient, settings: AuthSettings
) -> None:
    user = await accounts.add("anna")
    # By default a session ends after 14 days without use, and after 90 in any case.
    for name, created, used, ended in [
        ("ended long ago", 40, 40, ago(31)),
        ("ended recently", 40, 40, ago(29)),
        ("idle long ago", 60, 45, None),
        ("idle recently", 60, 43, None),
        ("too old long ago", 121, 0, None),
        ("too old recently", 119, 0, None),
    ]:
        values = {"created": ago(created), "used": ago(used), "ended": ended}
        await accounts.execute(_SESSION, id=user.id, name=name, **values)
    assert (await run_housekeeping(accounts, settings))["sessions"] == 3
    assert await find_names(accounts, "user_agent", "sessions") == [
        "ended recently",
        "idle recently",
        "too old recently",
    ]
    assert (await client.get("/auth/me", headers=user.headers)).status_code == 200


async def test_locked_rows_are_left_for_the_next_run(settings: AuthSettings) -> None:
    """Waiting for a lock could block transactions that in turn wait for the housekeeping."""
    async with running(create_app(settings)) as app:
        accounts = Accounts(app, httpx.AsyncClient())
        name = "locked by another"
        await accounts.execute(_MAIL, name=name, state="sent", settled=ago(31), expires=None, created=ago(31))
        async with app.state.database.writing() as connection:
            await connection.exec_driver_sql("SELECT id FROM mails FOR UPDATE")
            async with asyncio.timeout(30):
                assert (await tidy(app.state.database, settings))["mails"] == 0
        assert (await tidy(app.state.database, settings))["mails"] == 1


async def test_housekeeping_runs_even_if_no_mail_is_sent(settings: AuthSettings) -> None:
    before = asyncio.all_tasks()
    async with running(create_app(settings.model_copy(update={"mail_url": None}))):
        started = asyncio.all_tasks() - before
        assert "housekeeping" in {task.get_name() for task in started}
    assert not started & asyncio.all_tasks()
