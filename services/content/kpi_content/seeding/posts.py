"""Published posts, the older the higher their number, so that a list begins with the first ones."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from random import Random
from typing import Any

from kpi_shared.seeding import repository
from kpi_shared.seeding.factories import NumberedFactory
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.posts import bulk_repository
from kpi_content.posts.bulk_repository import NewPost
from kpi_content.posts.models import Post
from kpi_content.posts.schemas import PostCreate

AFTER = ("authors",)

_WORDS = (
    *("bees", "databases", "gardens", "engines", "letters", "rivers", "compilers", "mountains", "networks", "stories"),
    *("planets", "proofs", "kitchens", "maps", "clocks", "bridges", "forests", "queues", "violins", "lanterns"),
)
_BETWEEN = timedelta(minutes=7)


class PostFactory(NumberedFactory[PostCreate]):
    @classmethod
    def describe(cls, number: int) -> dict[str, Any]:
        # The same number makes the same text in every database.
        words = Random(number).sample(_WORDS, 8)  # noqa: S311 no secret
        title = f"{words[0].capitalize()} and {words[1]}, part {number}"
        content = f"What {words[2]} have to do with {words[3]}: {', '.join(words[4:])}."
        return {"title": title, "content": content, "published": True}


async def seed(connection: AsyncConnection, *, count: int) -> int:
    """Bring the table to ``count`` posts, and return how many were added."""
    missing = count - await repository.count_rows(connection, Post)
    if missing <= 0:
        return 0
    PostFactory.last_number = await repository.find_highest_id(connection, Post)
    owner_ids = await repository.find_values(connection, place="authors.id", most=1_000)
    ids = await bulk_repository.reserve_ids(connection, count=missing)
    posts = zip(ids, cycle(owner_ids), PostFactory.batch(missing), _times(), strict=False)
    await bulk_repository.add_all(connection, posts=(_make_post(*parts) for parts in posts))
    return missing


def _times() -> Iterator[datetime]:
    # The first post of a run is its newest one.
    time = datetime.now(UTC)
    while True:
        yield time
        time -= _BETWEEN


def _make_post(post_id: int, owner_id: int, post: PostCreate, time: datetime) -> NewPost:
    return NewPost(
        id=post_id,
        owner_id=owner_id,
        title=post.title,
        content=post.content,
        date=time,
        published_at=time,
        updated_at=time,
        votes=0,
    )
