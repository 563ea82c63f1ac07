"""Removing files that no row names: of uploads that failed half-way, and of rows that were deleted with others."""

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import groupby

import structlog
from fastapi import FastAPI
from kpi_kit.storage import StorageError

from kpi_shared.background import Schedule, repeat, running
from kpi_shared.database import Database
from kpi_shared.files.orphans_repository import find_named
from kpi_shared.files.storage import Files

log = structlog.get_logger(__name__)

# The row of an upload is written when the file is complete: a younger file may not have one yet.
_AGE = timedelta(days=1)
_SCHEDULE = Schedule(interval=86_400.0, first_delay=3600.0, first_backoff=3600.0, longest_backoff=86_400.0)


async def remove_orphans(files: Files, database: Database, *, age: timedelta = _AGE) -> int:
    """Remove the files of this part that no row names, and return how many are gone."""
    removed = 0
    await _tidy(files, age)
    async for keys in files.list_old(age=age):
        for place, group in groupby(sorted(keys), key=lambda key: key.rpartition("/")[0]):
            orphans = await _find_orphans(database, place, list(group))
            removed += await files.remove(*orphans)
    return removed


async def _tidy(files: Files, age: timedelta) -> None:
    try:
        await files.storage.tidy(age=age)
    except StorageError as error:
        # A bucket may allow all but this; its own rule for old uploads is as good.
        log.warning("leftovers of uploads were not removed", error=str(error))


async def _find_orphans(database: Database, place: str, keys: list[str]) -> list[str]:
    """Of files of one field. A table that this version does not have may be one of a newer version."""
    _, table, field = place.split("/")
    etags = {key.rpartition("/")[2]: key for key in keys}
    async with database.working(seconds=60.0) as connection:
        named = await find_named(connection, table_name=table, field=field, etags=list(etags))
    return [] if named is None else [key for etag, key in etags.items() if etag not in named]


async def file_housekeeping(app: FastAPI) -> AsyncIterator[None]:
    files: Files | None = app.state.files
    if files is None:
        yield
        return

    async def tidy() -> bool:
        if removed := await remove_orphans(files, app.state.database):
            log.info("housekeeping", files=removed)
        return False

    async with running(repeat(tidy, _SCHEDULE, failure="housekeeping of files failed"), name="files"):
        yield
