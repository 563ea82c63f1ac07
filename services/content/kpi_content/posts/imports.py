"""``python -m kpi_content import-posts``: posts and their votes from elsewhere, by COPY."""

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated

import psycopg
from kpi_shared.database import MAX_ID
from kpi_shared.lines import BadLineError, read_lines
from psycopg import Connection, Cursor
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, StringConstraints

from kpi_content.posts.schemas import Content, Title
from kpi_content.settings import ContentSettings

_BATCH = 500
# Any fixed number will do: two imports at once take turns, so that neither finds the other's half.
_ADVISORY_LOCK = 7_352_062

_remember_authors = """
    INSERT INTO authors AS known (id, username)
    SELECT DISTINCT ON (id) id, username FROM unnest(%s::bigint[], %s::text[]) AS given (id, username)
    ON CONFLICT (id) DO UPDATE SET username = excluded.username WHERE known.username <> excluded.username
"""
_known = """
    SELECT source, external_id FROM post_imports
    JOIN unnest(%s::text[], %s::bigint[]) AS given (source, external_id) USING (source, external_id)
"""
_next_ids = "SELECT nextval(pg_get_serial_sequence('posts', 'id')) FROM generate_series(1, %s)"
_copy_posts = "COPY posts (id, owner_id, title, content, date, updated_at, votes) FROM STDIN"
_copy_ledger = "COPY post_imports (source, external_id, post_id) FROM STDIN"
_copy_votes = "COPY votes (post_id, user_id, date) FROM STDIN"

_Id = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]


def _distinct(ids: list[int]) -> list[int]:
    if len(set(ids)) != len(ids):
        raise ValueError("names a voter twice")
    return ids


class ImportedAuthor(BaseModel):
    id: _Id
    username: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]


class ImportedPost(BaseModel):
    """One line of the input."""

    source: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
    external_id: Annotated[int, Field(strict=True, ge=-MAX_ID, le=MAX_ID)]
    author: ImportedAuthor
    title: Title
    content: Content
    date: AwareDatetime
    voters: Annotated[list[_Id], AfterValidator(_distinct)]

    @property
    def origin(self) -> tuple[str, int]:
        return self.source, self.external_id


class Totals(BaseModel):
    """How far the import is, as it is printed after each batch."""

    read: int = 0
    added: int = 0
    votes: int = 0


def import_posts(settings: ContentSettings) -> int:
    """Read NDJSON from standard input; each batch is one transaction, so none stays half-loaded."""
    url = settings.database_url.get_secret_value().replace("postgresql+psycopg", "postgresql", 1)
    try:
        with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
            _import(connection, read_lines(ImportedPost, sys.stdin.buffer))
    except (BadLineError, psycopg.Error) as error:
        print(f"{settings.part.program}: {error}", file=sys.stderr)
        return 1
    return 0


def _import(connection: Connection, posts: Iterator[ImportedPost]) -> None:
    totals = Totals()
    while batch := list(islice(posts, _BATCH)):
        with connection.transaction(), connection.cursor() as cursor:
            added = _add(cursor, batch)
        totals.read += len(batch)
        totals.added += len(added)
        totals.votes += sum(len(post.voters) for post in added)
        print(json.dumps(totals.model_dump()), flush=True)
    if totals.added:
        # The planner learns the new data, and the search index takes in what was only queued for it.
        connection.execute("VACUUM (ANALYZE) posts")
        connection.execute("ANALYZE authors, votes, post_imports")


def _add(cursor: Cursor, batch: list[ImportedPost]) -> list[ImportedPost]:
    """Write the posts of a batch that are not in the ledger, with their authors and votes."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
    posts = _unknown(cursor, batch)
    if not posts:
        return []
    authors = {post.author.id: post.author.username for post in posts}
    cursor.execute(_remember_authors, [list(authors), list(authors.values())])
    ids = [row[0] for row in cursor.execute(_next_ids, [len(posts)])]
    _copy(cursor, _copy_posts, (_post_row(post, post_id) for post, post_id in zip(posts, ids, strict=True)))
    _copy(cursor, _copy_ledger, ((*post.origin, post_id) for post, post_id in zip(posts, ids, strict=True)))
    with cursor.copy(_copy_votes) as copy:
        copy.write("".join(map(_vote_lines, posts, ids)))
    return posts


def _unknown(cursor: Cursor, batch: list[ImportedPost]) -> list[ImportedPost]:
    """The first of each origin, where the ledger does not have it."""
    posts = {post.origin: post for post in reversed(batch)}
    cursor.execute(_known, [[source for source, _ in posts], [external_id for _, external_id in posts]])
    for origin in cursor.fetchall():
        del posts[origin]
    return list(posts.values())[::-1]


def _post_row(post: ImportedPost, post_id: int) -> tuple[object, ...]:
    return post_id, post.author.id, post.title, post.content, post.date, post.date, len(post.voters)


def _vote_lines(post: ImportedPost, post_id: int) -> str:
    """The votes of a post as COPY's text: numbers and a date need no escaping, and a million rows are quick."""
    after = f"\t{post.date.isoformat()}\n"
    return "".join(f"{post_id}\t{voter}{after}" for voter in sorted(post.voters))


def _copy(cursor: Cursor, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
    with cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
