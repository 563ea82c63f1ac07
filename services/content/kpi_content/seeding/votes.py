"""Votes on the newest posts: the first ones get more of them, as in life."""

from collections.abc import Iterator, Sequence
from itertools import islice

from kpi_shared.database import get_direct
from kpi_shared.seeding import repository as seeds
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.votes import repository
from kpi_content.votes.models import Vote

AFTER = ("posts",)


async def seed(connection: AsyncConnection, *, count: int) -> int:
    """Bring the table to ``count`` votes, or one of each pair below, and return how many were added."""
    before = after = await seeds.count_rows(connection, Vote)
    post_ids = await seeds.find_values(connection, place="posts.id", most=1_000)
    user_ids = await seeds.find_values(connection, place="authors.id", most=1_000)
    pairs = islice(_pairs(post_ids, user_ids), before, None)
    direct = await get_direct(connection)
    # A vote that is there already adds none, so that some may be missing after the first round.
    while after < count and (round_of_votes := list(islice(pairs, count - after))):
        for post_id, user_id in round_of_votes:
            await repository.cast(direct, post_id=post_id, user_id=user_id, hides_deleted=False)
        after = await seeds.count_rows(connection, Vote)
    return after - before


def _pairs(post_ids: Sequence[int], user_ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each account's votes: the second one votes on half as many posts as the first, and so on."""
    for turn, user_id in enumerate(user_ids, start=1):
        for post_id in post_ids[:: min(turn, 10)]:
            yield post_id, user_id
