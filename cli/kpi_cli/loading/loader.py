"""The steps of a load: check the file, provide a database, import the users, then posts and votes."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from kpi_cli import parts
from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.loading import pipe, posts, voters
from kpi_cli.loading.posts import Post
from kpi_cli.loading.progress import open_progress
from kpi_cli.stack import environments, local_database
from kpi_cli.stack.ports import Ports

SOURCE = "hacker_news"
AUTH = parts.get_or_raise("auth")
CONTENT = parts.get_or_raise("content")
# How content names a record that it refuses: by its number in what it was sent.
_REFUSED_RECORD = re.compile(r"kpi-content: line (\d+): (.*)")


def load(layout: Layout, file: Path, console: Console, *, as_json: bool = False) -> None:
    """Load a file; a second load of the same file adds nothing and reports that."""
    found = posts.read(file)
    if not found:
        raise FailureError("load", f"{file} has no posts", fix="choose another: make load FILE=posts.jsonl.gz")
    with local_database.use(layout) as ports:
        local_database.migrate_where_needed(layout, ports)
        _check_posts(layout, ports, file, found)
        # The progress is for people.
        with open_progress(Console(stderr=True) if as_json else console) as progress:
            users = _import_users(layout, ports, found, progress)
            totals = _import_posts(layout, ports, _Records(found, users), progress)
    if as_json:
        print(json.dumps({"file": str(file), **totals}))
    else:
        console.print(_summary(file, len(found), totals), soft_wrap=True)


def _check_posts(layout: Layout, ports: Ports, file: Path, found: list[Post]) -> None:
    """Let content check all posts before the first user is imported, so that a file is loaded entirely or not."""
    records = _Records(found, dict.fromkeys(posts.authors(found), 1), with_votes=False)
    environment = environments.environment(layout, CONTENT, ports)
    try:
        for _ in pipe.send(CONTENT.name, CONTENT.command("check-posts"), environment, records.generate()):
            pass
    except FailureError as failure:
        refusal = next(filter(None, map(_REFUSED_RECORD.search, failure.log)), None)
        if refusal is None:
            raise
        raise posts.BadLineError(file, found[int(refusal[1]) - 1].line, refusal[2]) from failure


def _import_users(layout: Layout, ports: Ports, found: list[Post], progress: Progress) -> dict[str, int]:
    names = posts.authors(found)
    task = progress.add_task("users", total=len(names))
    records = ({"username": name, "created_at": _format_time(first)} for name, first in names.items())
    environment = environments.environment(layout, AUTH, ports)
    responses = pipe.send(AUTH.name, AUTH.command("import-users"), environment, records)
    users: dict[str, int] = {}
    # Responses are matched by their order, because the service may normalise a name. The responses come first in the
    # zip, so that they are read to their end: only there is a failure of the program raised.
    for response, name in zip(responses, names, strict=False):
        users[name] = int(response["id"])
        progress.advance(task)
    if len(users) != len(names):
        raise FailureError(
            AUTH.name, f"it returned the ids of only {len(users)} of {len(names)} users", fix=f"{KPI} doctor"
        )
    if len(set(users.values())) != len(users):
        raise FailureError(AUTH.name, "two authors in the file belong to the same user", fix=f"{KPI} doctor")
    return users


def _import_posts(layout: Layout, ports: Ports, records: "_Records", progress: Progress) -> dict[str, Any]:
    task = progress.add_task("posts", total=records.size)
    totals: dict[str, Any] = {"read": 0, "added": 0, "votes": 0}
    environment = environments.environment(layout, CONTENT, ports)
    for response in pipe.send(CONTENT.name, CONTENT.command("import-posts"), environment, records.generate()):
        totals = response
        progress.update(task, completed=response["read"])
    if totals["read"] != records.size:
        raise FailureError(CONTENT.name, f"it read {totals['read']} of {records.size} posts", fix=f"{KPI} doctor")
    return totals


class _Records:
    """The posts in the form that content imports, with user ids instead of names."""

    def __init__(self, found: list[Post], users: dict[str, int], *, with_votes: bool = True) -> None:
        self._with_votes = with_votes
        self.size = len(found)
        self._posts = found
        self._users = users
        self._ids = list(users.values())

    def generate(self) -> Iterator[dict[str, object]]:
        for post in self._posts:
            chosen = voters.choose(post.id, post.points, len(self._ids)) if self._with_votes else []
            yield {
                "source": SOURCE,
                "external_id": post.id,
                "author": {"id": self._users[post.author], "username": post.author},
                "title": post.title,
                "content": post.url,
                "date": _format_time(post.created_at),
                "voters": [self._ids[position] for position in chosen],
            }


def _format_time(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _summary(file: Path, size: int, totals: dict[str, Any]) -> str:
    if not totals["added"]:
        return f"Nothing to add: all {size:,} posts of {file} are already loaded."
    votes = "1 vote" if totals["votes"] == 1 else f"{totals['votes']:,} votes"
    return f"Added {totals['added']:,} of {size:,} posts of {file}, with {votes}."
