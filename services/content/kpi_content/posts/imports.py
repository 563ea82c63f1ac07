"""``python -m kpi_content import-posts``: posts and their votes from elsewhere, by COPY."""

import asyncio
import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import psycopg
from kpi_shared.database import MAX_ID, Database
from kpi_shared.json_lines import BadLineError, read_lines
from kpi_shared.operations import reason_of
from kpi_shared.text import StorableText
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, StringConstraints
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.authors import repository as authors
from kpi_content.posts import imports_repository as repository
from kpi_content.posts.imports_repository import NewPost, Origin
from kpi_content.posts.schemas import Content, Title
from kpi_content.settings import ContentSettings

_BATCH = 500

_Id = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]


def _distinct(ids: list[int]) -> list[int]:
    if len(set(ids)) != len(ids):
        raise ValueError("names a voter twice")
    return ids


class ImportedAuthor(BaseModel):
    id: _Id
    username: Annotated[StorableText, StringConstraints(min_length=1, max_length=255)]


class ImportedPost(BaseModel):
    """One line of the input."""

    source: Annotated[StorableText, StringConstraints(min_length=1, max_length=64)]
    external_id: Annotated[int, Field(strict=True, ge=-MAX_ID, le=MAX_ID)]
    author: ImportedAuthor
    title: Title
    content: Content
    date: AwareDatetime
    voters: Annotated[list[_Id], AfterValidator(_distinct)]

    @property
    def origin(self) -> Origin:
        return Origin(self.source, self.external_id)

    @property
    def new(self) -> NewPost:
        return NewPost(self.origin, self.author.id, self.title, self.content, self.date, self.voters)


class Totals(BaseModel):
    """How far the import is, as it is printed after each batch."""

    read: int = 0
    added: int = 0
    votes: int = 0


def import_posts(settings: ContentSettings) -> int:
    """Read NDJSON from standard input; each batch is one transaction, so none stays half-loaded."""
    try:
        asyncio.run(_import(settings, read_lines(ImportedPost, sys.stdin.buffer)))
    except (BadLineError, SQLAlchemyError, psycopg.Error) as error:
        print(f"{settings.part.program}: {reason_of(error)}", file=sys.stderr)
        return 1
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
            added = await _add(connection, batch)
        totals.read += len(batch)
        totals.added += len(added)
        totals.votes += sum(len(post.voters) for post in added)
        print(json.dumps(totals.model_dump()), flush=True)
    return totals


async def _add(connection: AsyncConnection, batch: list[ImportedPost]) -> list[ImportedPost]:
    """Write the posts of a batch that are not in the ledger, with their authors and votes."""
    await repository.take_turn(connection)
    first = {post.origin: post for post in reversed(batch)}
    known = await repository.known(connection, origins=first)
    posts = [post for origin, post in reversed(first.items()) if origin not in known]
    if posts:
        await authors.remember_all(connection, usernames={post.author.id: post.author.username for post in posts})
        await repository.add(connection, posts=[post.new for post in posts])
    return posts
