"""Adding a batch of imported posts."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.authors import repository as authors
from kpi_content.imports import repository
from kpi_content.imports.schemas import ImportedPost
from kpi_content.posts import bulk_repository as posts
from kpi_content.posts.bulk_repository import NewPost
from kpi_content.votes import bulk_repository as votes
from kpi_content.votes.bulk_repository import PostVotes


async def add_batch(connection: AsyncConnection, *, batch: Sequence[ImportedPost]) -> list[ImportedPost]:
    """Add the posts of a batch that no import has added yet, and return them."""
    await repository.take_turn(connection)
    first = {post.origin: post for post in reversed(batch)}
    known = await repository.find_known(connection, external_ids=first)
    added = [post for origin, post in reversed(first.items()) if origin not in known]
    if added:
        await _add(connection, added)
    return added


async def _add(connection: AsyncConnection, imported: Sequence[ImportedPost]) -> None:
    await authors.remember_all(connection, usernames={post.author.id: post.author.username for post in imported})
    numbered = list(zip(await posts.reserve_ids(connection, count=len(imported)), imported, strict=True))
    await posts.add_all(connection, posts=(_new_post(post_id, post) for post_id, post in numbered))
    await repository.add_all(connection, external_ids={post_id: post.origin for post_id, post in numbered})
    await votes.add_all(
        connection,
        votes=(PostVotes(post_id, post.voters, post.first_published) for post_id, post in numbered),
    )


def _new_post(post_id: int, post: ImportedPost) -> NewPost:
    return NewPost(
        id=post_id,
        owner_id=post.author.id,
        title=post.title,
        content=post.content,
        date=post.date,
        published_at=post.first_published,
        updated_at=post.first_published,
        votes=len(post.voters),
    )
