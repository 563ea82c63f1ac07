"""Deleting what is of no more use: in small steps, so that no request waits for it, and by every replica alike."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from random import SystemRandom

import structlog
from fastapi import FastAPI
from kpi_shared.database import Database

from kpi_auth.attempts import repository as attempts
from kpi_auth.codes import repository as codes
from kpi_auth.mails import repository as mails
from kpi_auth.sessions import repository as sessions
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.lifetimes import Lifetimes

log = structlog.get_logger(__name__)

KEPT = timedelta(days=30)
_EVERY_SECONDS = 3600.0
_FIRST_SECONDS = 60.0
_STEP = 1000
_MOST_STEPS = 100
_random = SystemRandom()

# Forgets at most so many rows on a connection (both are passed), and returns how many there were.
_Forget = Callable[..., Awaitable[int]]


def _tasks(settings: AuthSettings) -> dict[str, _Forget]:
    return {
        "mails": partial(mails.forget_old, kept=KEPT),
        "contents": mails.forget_old_contents,
        "codes": codes.forget_old,
        "attempts": attempts.forget_old,
        "sessions": partial(sessions.forget_old, lifetimes=Lifetimes.of(settings), kept=KEPT),
    }


async def tidy(database: Database, settings: AuthSettings, *, step: int = _STEP) -> dict[str, int]:
    """Do it once; returns how many rows of each kind are gone."""
    return {name: await _run_in_steps(database, forget, step) for name, forget in _tasks(settings).items()}


async def _run_in_steps(database: Database, forget: _Forget, step: int) -> int:
    gone = 0
    for _ in range(_MOST_STEPS):
        async with database.writing() as connection:
            count = await forget(connection, most=step)
        gone += count
        if count < step:
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
