"""How many streams and uploads one account may have open in a process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from content_support import Caller, assert_problem
from kpi_content.app import create_app
from kpi_content.settings import ContentSettings
from kpi_shared.database import Database
from kpi_shared.testing.client import running
from live_support import Conversation, create_conversation, follow, send, wait_until
from server_support import serve


@pytest.fixture
async def conversation(
    live_settings: ContentSettings, live_database: Database, anna: Caller, bert: Caller
) -> AsyncIterator[Conversation]:
    """Where two of each are the most, shared with bert."""
    few = live_settings.model_copy(update={"uploads_per_account": 2, "streams_per_account": 2})
    async with (
        running(create_app(few)) as app,
        serve(app, request_timeout=20) as port,
        httpx.AsyncClient(timeout=30) as client,
    ):
        address = f"http://127.0.0.1:{port}"
        conversation = await create_conversation((address, address), live_database, client, anna)
        await conversation.share(bert)
        yield conversation


async def test_an_account_has_so_many_streams(conversation: Conversation, bert: Caller) -> None:
    url, headers = conversation.events(), conversation.owner.headers
    async with AsyncExitStack() as second:
        async with follow(url, headers):
            await second.enter_async_context(follow(url, headers))
            refused = await conversation.client.get(url, headers=headers)
            assert_problem(refused, 429, "too-many-streams")
            assert refused.headers["Retry-After"] == "1"
            async with follow(url, bert.headers):
                pass
        # The place of one that has ended is free, when its process has noticed.
        await wait_until_free(url, headers)


async def wait_until_free(url: str, headers: dict[str, str]) -> None:
    async def is_free(client: httpx.AsyncClient) -> bool:
        async with client.stream("GET", url, headers=headers) as response:
            return response.status_code == 200

    async with asyncio.timeout(20), httpx.AsyncClient() as client:
        while not await is_free(client):  # noqa: ASYNC110 it asks the process
            await asyncio.sleep(0.02)


async def test_an_account_has_so_many_uploads(conversation: Conversation, bert: Caller) -> None:
    first, second = await send(conversation), await send(conversation)
    async with follow(conversation.events(), bert.headers) as reading:
        for sending in (first, second):
            sending.write("begun")
        await wait_until(lambda: len(reading.of("message.delta")) == 2)
    refused = await (await send(conversation)).response()
    assert_problem(refused, 429, "too-many-uploads")
    assert refused.headers["Retry-After"] == "1"
    other = await send(conversation, by=bert)
    other.write("another's")
    assert (await other.end()).status_code == 201
    assert (await first.end()).status_code == 201
    third = await send(conversation)
    third.write("the next")
    assert (await third.end()).status_code == 201
    assert (await second.end()).status_code == 201
