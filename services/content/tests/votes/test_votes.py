"""Voting, and a post's count under concurrent votes."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from content_support import Caller, Posts, assert_problem
from kpi_content.votes import service
from kpi_content.votes.schemas import VoteCast

USERS = 1000
TOGGLES = 10
AT_A_TIME = 20


async def cast(client: httpx.AsyncClient, post_id: object, direction: object, by: Caller) -> httpx.Response:
    return await client.post("/votes", json={"post_id": post_id, "direction": direction}, headers=by.headers)


async def test_voting_and_taking_a_vote_back_are_idempotent(
    client: httpx.AsyncClient, anna: Caller, bert: Caller, posts: Posts
) -> None:
    post = await posts.add()
    steps = [(anna, 1, 1), (anna, 1, 1), (bert, 1, 2), (anna, 0, 1), (anna, 0, 1), (bert, 0, 0), (anna, 1, 1)]
    for who, direction, votes in steps:
        response = await cast(client, post["id"], direction, who)
        assert response.status_code == 200, response.text
        assert response.json() == {"post_id": post["id"], "direction": direction, "votes": votes}
        assert (await client.get(f"/posts/{post['id']}")).json()["votes"] == votes


async def test_a_vote_changes_only_the_count_of_the_post(client: httpx.AsyncClient, bert: Caller, posts: Posts) -> None:
    post = await posts.add()
    await cast(client, post["id"], 1, bert)
    assert (await client.get(f"/posts/{post['id']}")).json() == post | {"votes": 1}


async def test_drafts_are_for_their_owner_alone(
    client: httpx.AsyncClient, anna: Caller, bert: Caller, admin: Caller, posts: Posts
) -> None:
    draft = await posts.add(published=False)
    assert (await cast(client, draft["id"], 1, anna)).json()["votes"] == 1
    for other in (bert, admin):
        for direction in (0, 1):
            response = await cast(client, draft["id"], direction, other)
            assert_problem(response, 404, "post-not-found")


async def test_voting_for_a_post_that_does_not_exist(client: httpx.AsyncClient, anna: Caller) -> None:
    for direction in (0, 1):
        response = await cast(client, 2**63 - 1, direction, anna)
        assert_problem(response, 404, "post-not-found")


async def test_voting_requires_a_token(client: httpx.AsyncClient, posts: Posts) -> None:
    post = await posts.add()
    response = await client.post("/votes", json={"post_id": post["id"], "direction": 1})
    assert_problem(response, 401, "unauthenticated")


@pytest.mark.parametrize("direction", [2, -1, True, False, "1", 1.5, None, [1], 10**30])
async def test_invalid_directions_are_refused(
    client: httpx.AsyncClient, anna: Caller, posts: Posts, direction: object
) -> None:
    post = await posts.add()
    response = await cast(client, post["id"], direction, anna)
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["pointer"] == "#/body/direction"


@pytest.mark.parametrize("post_id", [0, -1, 2**63, "1", True, 1.5, None])
async def test_invalid_ids_are_refused(client: httpx.AsyncClient, anna: Caller, post_id: object) -> None:
    assert (await cast(client, post_id, 1, anna)).status_code == 422


async def run_all(work: list[Coroutine[Any, Any, None]]) -> None:
    """Run all jobs, a bounded number at a time."""
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(job: Coroutine[Any, Any, None]) -> None:
        async with places:
            await job

    await asyncio.gather(*map(one, work))


async def read_counts(posts: Posts) -> list[tuple[Any, ...]]:
    """Of every post, the stored count and the number of its votes."""
    return await posts.rows(
        "SELECT votes, (SELECT count(*) FROM votes WHERE post_id = posts.id) FROM posts ORDER BY id"
    )


async def test_a_thousand_users_toggling_leave_the_right_count(
    committed_posts: Posts, user: Callable[[int], Caller]
) -> None:
    """On real connections of the service's pool, but without HTTP, which would take most of the time."""
    database = committed_posts.app.state.database
    ids = [(await committed_posts.add())["id"] for _ in range(2)]
    chance = random.Random(7)
    voted: set[tuple[int, int]] = set()

    async def toggle(user_id: int) -> None:
        voter = user(user_id).subject
        for post_id, direction in [(chance.choice(ids), chance.randint(0, 1)) for _ in range(TOGGLES)]:
            cast = VoteCast.model_validate({"post_id": post_id, "direction": direction})
            async with database.direct() as connection:
                await service.vote(connection, cast=cast, caller=voter)
            (voted.add if direction else voted.discard)((post_id, user_id))

    await run_all([toggle(user_id) for user_id in range(100, 100 + USERS)])
    expected = [len([vote for vote in voted if vote[0] == post_id]) for post_id in ids]
    assert await read_counts(committed_posts) == [(number, number) for number in expected]


async def test_one_user_voting_many_times_at_once_counts_once(
    committed_posts: Posts, committing_client: httpx.AsyncClient, bert: Caller
) -> None:
    post = await committed_posts.add()
    for direction in (1, 0):
        work = [cast(committing_client, post["id"], direction, bert) for _ in range(AT_A_TIME)]
        responses = await asyncio.gather(*work)
        assert [response.json()["votes"] for response in responses] == [direction] * AT_A_TIME
    mixed = [cast(committing_client, post["id"], number % 2, bert) for number in range(AT_A_TIME)]
    assert {response.status_code for response in await asyncio.gather(*mixed)} == {200}
    [(kept, counted)] = await read_counts(committed_posts)
    assert kept == counted


async def test_votes_during_the_deletion_of_their_post_are_counted_or_refused(
    committed_posts: Posts, committing_client: httpx.AsyncClient, anna: Caller, user: Callable[[int], Caller]
) -> None:
    client = committing_client
    voters = [user(user_id) for user_id in range(100, 110)]
    seen: set[int] = set()
    for _ in range(10):
        post = await committed_posts.add()
        for voter in voters[:5]:
            await cast(client, post["id"], 1, voter)
        work = [cast(client, post["id"], number % 2, voter) for number, voter in enumerate(voters)]
        work.insert(5, client.delete(f"/posts/{post['id']}", headers=anna.headers))
        seen |= {response.status_code for response in await asyncio.gather(*work)}
    assert {204} < seen <= {200, 204, 404}
    assert await read_counts(committed_posts) == []
