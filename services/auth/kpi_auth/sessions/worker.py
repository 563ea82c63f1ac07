"""Keeps the decoys of unknown names as costly as the hashes of the accounts are."""

from collections.abc import AsyncIterator
from functools import partial

from fastapi import FastAPI
from kpi_shared.background import Schedule, repeat, running
from kpi_shared.database import Database

from kpi_auth.accounts import read_repository
from kpi_auth.hashing.decoys import HashForm
from kpi_auth.hashing.hasher import PasswordHasher

_SCHEDULE = Schedule(interval=300.0, first_backoff=30.0, longest_backoff=600.0)
_SECONDS = 10.0


async def hash_forms(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    step = partial(renew_decoys, state.database, state.hasher)
    async with running(repeat(step, _SCHEDULE, failure="hashes cannot be counted"), name="forms of hashes"):
        yield


async def renew_decoys(database: Database, hasher: PasswordHasher) -> bool:
    """Count the forms of hashes that other systems or former parameters made; False, because there is no more to do."""
    async with database.working(seconds=_SECONDS) as connection:
        rows = await read_repository.count_other_hashes(connection, usual=hasher.decoys.usual_form)
    hasher.decoys.use([HashForm(row.example, row.share) for row in rows])
    return False
