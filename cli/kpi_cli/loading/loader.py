"""The order of a load: check the file, have a database, bring in the users, then posts and votes."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from kpi_cli import local, parts
from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.loading import pipe, posts, voters
from kpi_cli.loading.posts import Post
from kpi_cli.ports import Ports

SOURCE = "hacker_news"


class _Rate(ProgressColumn):
    """Rich has a column for bytes per second, but none for a plain rate."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="progress.data.speed")


def load(layout: Layout, file: Path, console: Console) -> None:
    """Load a file; a second load of the same one adds nothing and says so."""
    found = posts.read(file)
    if not found:
        raise FailureError("load", f"{file} holds no posts", fix="name another one: make load FILE=posts.jsonl.gz")
    with local.database(layout) as ports:
        local.migrate_where_needed(layout, ports)
        with _progress(console) as progress:
            users = _import_users(layout, ports, found, progress)
            totals = _import_posts(layout, ports, _Feed(found, users), progress)
    console.print(_summary(file, len(found), totals), soft_wrap=True)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<6}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
    )


def _import_users(layout: Layout, ports: Ports, found: list[Post], progress: Progress) -> dict[str, int]:
    names = posts.authors(found)
    task = progress.add_task("users", total=len(names))
    records = ({"username": name, "created_at": _time(first)} for name, first in names.items())
    answers = pipe.exchange(
        "auth", parts.command("auth", "import-users"), parts.environment(layout, "auth", ports), records
    )
    users: dict[str, int] = {}
    # Answers come in the order of the questions; a service may spell a name its own way, so the order counts.
    # They are asked for first, up to their end: only then has the program said whether it succeeded.
    for answer, name in zip(answers, names, strict=False):
        users[name] = int(answer["id"])
        progress.advance(task)
    if len(users) != len(names):
        raise FailureError("auth", f"it answered for {len(users)} of {len(names)} users", fix=f"{KPI} doctor")
    if len(set(users.values())) != len(users):
        raise FailureError("auth", "two authors of the file are one user there", fix=f"{KPI} doctor")
    return users


def _import_posts(layout: Layout, ports: Ports, feed: "_Feed", progress: Progress) -> dict[str, Any]:
    task = progress.add_task("posts", total=feed.size)
    totals: dict[str, Any] = {"read": 0, "added": 0, "votes": 0}
    command = parts.command("content", "import-posts")
    for answer in pipe.exchange("content", command, parts.environment(layout, "content", ports), feed.records()):
        totals = answer
        progress.update(task, completed=answer["read"])
    if totals["read"] != feed.size:
        raise FailureError("content", f"it read {totals['read']} of {feed.size} posts", fix=f"{KPI} doctor")
    return totals


class _Feed:
    """The posts as content wants them, with user ids in the place of names."""

    def __init__(self, found: list[Post], users: dict[str, int]) -> None:
        self.size = len(found)
        self._posts = found
        self._users = users
        self._ids = list(users.values())

    def records(self) -> Iterator[dict[str, object]]:
        for post in self._posts:
            chosen = voters.choose(post.id, post.points, len(self._ids))
            yield {
                "source": SOURCE,
                "external_id": post.id,
                "author": {"id": self._users[post.author], "username": post.author},
                "title": post.title,
                "content": post.url,
                "date": _time(post.created_at),
                "voters": [self._ids[position] for position in chosen],
            }


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _summary(file: Path, size: int, totals: dict[str, Any]) -> str:
    if not totals["added"]:
        return f"Nothing to add: all {size:,} posts of {file} were there already."
    return f"Added {totals['added']:,} of {size:,} posts of {file}, with {totals['votes']:,} votes."
