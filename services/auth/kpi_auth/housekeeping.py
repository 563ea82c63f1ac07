"""Forgetting what is of no more use: in small steps, so that nobody waits for it, and by every replica alike."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from random import SystemRandom

import structlog
from fastapi import FastAPI
from kpi_shared.database import Database
from sqlalchemy import text

from kpi_auth.settings import AuthSettings

log = structlog.get_logger(__name__)

KEPT = timedelta(days=30)
_EVERY_SECONDS = 3600.0
_FIRST_SECONDS = 60.0
_STEP = 1000
_MOST_STEPS = 100
_random = SystemRandom()

# Rows that somebody works on just now are left for the next time.
_STATEMENTS = {
    "mails": text("""
        DELETE FROM mails WHERE id IN (
            SELECT id FROM mails WHERE state <> 'pending' AND settled_at < now() - :kept
            LIMIT :step FOR UPDATE SKIP LOCKED
        )
    """),
    # A dead mail may be sent after all while its link works, and holds a secret for no longer.
    "contents": text("""
        UPDATE mails SET content = NULL WHERE id IN (
            SELECT id FROM mails WHERE state = 'dead' AND expires_at < now() AND content IS NOT NULL
            LIMIT :step FOR UPDATE SKIP LOCKED
        )
    """),
    "codes": text("""
        DELETE FROM one_time_codes WHERE id IN (
            SELECT id FROM one_time_codes WHERE expires_at < now() LIMIT :step FOR UPDATE SKIP LOCKED
        )
    """),
    "attempts": text("""
        DELETE FROM attempts WHERE key IN (
            SELECT key FROM attempts WHERE forget_at < now() LIMIT :step FOR UPDATE SKIP LOCKED
        )
    """),
    "sessions": text("""
        DELETE FROM sessions WHERE id IN (
            SELECT id FROM sessions
            WHERE ended_at < now() - :kept
                OR used_at < now() - :kept - :idle
                OR created_at < now() - :kept - :absolute
            LIMIT :step FOR UPDATE SKIP LOCKED
        )
    """),
}


async def tidy(database: Database, settings: AuthSettings, *, step: int = _STEP) -> dict[str, int]:
    """Do it once; returns how many rows of each kind are gone."""
    values = {
        "kept": KEPT,
        "idle": timedelta(days=settings.session_idle_days),
        "absolute": timedelta(days=settings.session_absolute_days),
        "step": step,
    }
    return {name: await _in_steps(database, name, values) for name in _STATEMENTS}


async def _in_steps(database: Database, name: str, values: dict[str, object]) -> int:
    statement = _STATEMENTS[name]
    bound = {name: values[name] for name in statement.compile().params}
    gone = 0
    for _ in range(_MOST_STEPS):
        async with database.writing() as connection:
            count = (await connection.execute(statement, bound)).rowcount
        gone += count
        if count < int(str(values["step"])):
            break
    return gone


async def _keep_tidy(database: Database, settings: AuthSettings) -> None:
    # Replicas that start together do not do it together.
    await asyncio.sleep(_FIRST_SECONDS * _random.uniform(0.5, 1.5))
    while True:
        try:
            gone = await tidy(database, settings)
        except Exception as error:  # noqa: BLE001 whatever is wrong now, there is another time
            log.warning("housekeeping failed", error=type(error).__name__)
        else:
            log.info("housekeeping", **{name: count for name, count in gone.items() if count})
        await asyncio.sleep(_EVERY_SECONDS * _random.uniform(0.9, 1.1))


async def housekeeping(app: FastAPI) -> AsyncIterator[None]:
    running = asyncio.create_task(_keep_tidy(app.state.database, app.state.settings))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})
