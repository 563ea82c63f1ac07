"""Searches and totals have few places of their own, bounded terms and bounded counts."""

import asyncio
from ipaddress import ip_network

import httpx
import pytest
from content_support import Caller, Posts, assert_problem
from kpi_content.posts import repository
from kpi_content.settings import ContentSettings
from kpi_shared import paging
from kpi_shared.places import Places

COSTLY = ("/posts?search=bees", "/posts?total=true", "/posts?search=bees&total=true&sort=top")


@pytest.mark.parametrize("path", COSTLY)
async def test_a_search_without_a_place_is_refused_and_reads_go_on(
    client: httpx.AsyncClient, posts: Posts, one_place: Places, path: str
) -> None:
    post = await posts.add("bees")
    with await one_place.take("other"):
        waiting = asyncio.create_task(client.get(path))
        while not one_place.waiting:  # noqa: ASYNC110 there is no event
            await asyncio.sleep(0)
        refused = await client.get(path)
        assert_problem(refused, 503, "search-busy")
        assert refused.headers["retry-after"] == "1"
        for read in (f"/posts/{post['id']}", "/posts", "/posts?sort=hot&skip=1", "/posts?limit=100"):
            assert (await client.get(read)).status_code == 200
    assert (await waiting).status_code == 200
    assert (one_place.taken, one_place.waiting) == (0, 0)


async def test_who_asks_for_most_is_refused_first(
    client: httpx.AsyncClient, posts: Posts, one_place: Places, anna: Caller
) -> None:
    """A client is known by its account, or else by the address that a trusted proxy reports."""
    await posts.add("bees")
    for headers in (anna.headers, {"X-Forwarded-For": "203.0.113.8"}):
        with await one_place.take(ip_network("203.0.113.7")):
            busy = asyncio.create_task(client.get(COSTLY[0], headers={"X-Forwarded-For": "203.0.113.7"}))
            while not one_place.waiting:  # noqa: ASYNC110 there is no event
                await asyncio.sleep(0)
            quiet = asyncio.create_task(client.get(COSTLY[0], headers=headers))
            assert (await busy).status_code == 503
        assert (await quiet).status_code == 200


@pytest.mark.parametrize(
    "search",
    [" ".join(f"-w{n}" for n in range(9)), " ".join("abcdefghijklmnopqrstuvwxyzabcdefg"), '"' + "a." * 33 + '"'],
)
async def test_a_search_of_too_many_terms_is_refused(client: httpx.AsyncClient, search: str) -> None:
    refused = await client.get("/posts", params={"search": search})
    assert_problem(refused, 422, "invalid-request")
    assert [(each["pointer"], each["type"]) for each in refused.json()["errors"]] == [
        ("#/query/search", "too_many_terms")
    ]


@pytest.mark.parametrize(
    "search", [" ".join(f"-w{n}" for n in range(8)), " ".join("abcdefghijklmnopqrstuvwxyzabcdef"), "words " * 32]
)
async def test_a_search_of_as_many_terms_as_allowed(client: httpx.AsyncClient, search: str) -> None:
    assert (await client.get("/posts", params={"search": search})).status_code == 200


async def test_a_total_says_when_it_is_not_exact(
    client: httpx.AsyncClient, posts: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (paging, repository):
        monkeypatch.setattr(module, "MAX_TOTAL", 2)
    repository._count.cache_clear()
    try:
        for expected in ((1, True), (2, True), (2, False), (2, False)):
            await posts.add("bees")
            for path in ("/posts?total=true", "/posts?total=true&search=bees"):
                shown = (await client.get(path)).json()
                assert (shown["total"], shown["total_is_exact"]) == expected
    finally:
        repository._count.cache_clear()


def test_a_quarter_of_the_connections_search(settings: ContentSettings) -> None:
    sizes = {1: 1, 4: 1, 5: 1, 8: 2, 40: 10}
    found = {size: settings.model_copy(update={"database_pool_size": size}).parallel_searches for size in sizes}
    assert found == sizes
    assert settings.model_copy(update={"search_places": 3}).parallel_searches == 3


async def test_an_early_refusal_reads_nothing_and_a_token_passes_it(
    client: httpx.AsyncClient, one_place: Places, anna: Caller
) -> None:
    """The second request of the busy address is refused before its parameters are checked."""
    busy = {"X-Forwarded-For": "203.0.113.7"}
    with await one_place.take(ip_network("203.0.113.7")):
        waiting = asyncio.create_task(client.get(COSTLY[0], headers=busy))
        while not one_place.waiting:  # noqa: ASYNC110 there is no event
            await asyncio.sleep(0)
        for path in (*COSTLY, "/posts/?limit=none&search=bees"):
            refused = await client.get(path, headers=busy)
            assert_problem(refused, 503, "search-busy")
            assert refused.json()["instance"] == refused.headers["x-request-id"]
        assert (await client.get("/posts?limit=none&search=bees", headers=busy | anna.headers)).status_code == 422
    assert (await waiting).status_code == 200
