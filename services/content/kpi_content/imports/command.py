"""``python -m kpi_content import-posts``: load posts with their authors and votes from other systems.

``check-posts`` judges the same input before, so that a caller who imports the authors first need not undo that.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from itertools import islice

import psycopg
from kpi_shared.database import Database
from kpi_shared.json_lines import BadLineError, read_lines
from kpi_shared.operations import reason_of
from sqlalchemy.exc import SQLAlchemyError

from kpi_content.imports import repository, service
from kpi_content.imports.schemas import ImportedPost, Totals
from kpi_content.settings import ContentSettings

_BATCH = 500


def import_posts(settings: ContentSettings) -> int:
    """Read NDJSON from standard input. Each batch is one transaction, so none is ever half loaded."""
    try:
        asyncio.run(_import(settings, read_lines(ImportedPost, sys.stdin.buffer)))
    except (BadLineError, SQLAlchemyError, psycopg.Error) as error:
        print(f"{settings.part.program}: {reason_of(error)}", file=sys.stderr)
        return 1
    return 0


def check_posts(settings: ContentSettings) -> int:
    """Read the same input and store nothing: the exit code says whether each line of it could be imported."""
    try:
        count = sum(1 for _ in read_lines(ImportedPost, sys.stdin.buffer))
    except BadLineError as error:
        print(f"{settings.part.program}: {reason_of(error)}", file=sys.stderr)
        return 1
    print(json.dumps({"read": count}))
    return 0


async def _import(settings: ContentSettings, posts: Iterator[ImportedPost]) -> None:
    database = Database(settings)
    try:
        totals = await _import_batches(database, posts)
        if totals.added:
            async with database.reading() as connection:
                await repository.refresh_statistics(connection)
    finally:
        await database.close()


async def _import_batches(database: Database, posts: Iterator[ImportedPost]) -> Totals:
    totals = Totals()
    while batch := list(islice(posts, _BATCH)):
        async with database.writing() as connection:
            added = await service.add_batch(connection, batch=batch)
        totals.read += len(batch)
        totals.added += len(added)
        totals.votes += sum(len(post.voters) for post in added)
        print(json.dumps(totals.model_dump()), flush=True)
    return totals
