"""The SQL that adds the votes of many posts at once."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from kpi_shared.database.copying import copy_text
from sqlalchemy.ext.asyncio import AsyncConnection

_copy = "COPY votes (post_id, user_id, date) FROM STDIN"


class PostVotes(NamedTuple):
    """The votes of one post, all cast at one time."""

    post_id: int
    user_ids: Sequence[int]
    date: datetime

    @property
    def lines(self) -> str:
        """Numbers and a date need no escaping, so that a million rows are written quickly."""
        after = f"\t{self.date.isoformat()}\n"
        return "".join(f"{self.post_id}\t{user_id}{after}" for user_id in sorted(self.user_ids))


async def add_all(connection: AsyncConnection, *, votes: Iterable[PostVotes]) -> None:
    """Add votes only: the caller has written each post with its count."""
    await copy_text(connection, _copy, (of_post.lines for of_post in votes))
