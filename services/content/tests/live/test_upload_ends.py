"""Uploads whose author may not write for a moment, or whose text cannot be stored before the process ends."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from content_support import Caller, assert_problem
from conversations_support import Conversations
from fastapi import FastAPI
from kpi_content.live import repository, uploads
from kpi_content.messages import service


async def upload(client: httpx.AsyncClient, address: str, by: Caller, *, is_endless: bool = False) -> httpx.Response:
    async def body() -> AsyncIterator[bytes]:
        yield json.dumps({"delta": "mine"}).encode()
        yield b"\n"
        if is_endless:
            await asyncio.Event().wait()

    headers = {"Content-Type": "application/x-ndjson", **by.headers}
    return await client.post(f"{address}/messages?stream=true", content=body(), headers=headers)


async def test_what_cannot_be_stored_in_time_is_given_up_before_the_process_ends(
    app: FastAPI, conversations: Conversations, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await conversations.add()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait_for_ever(*_args: object, **_named: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(service, "create", wait_for_ever)
    monkeypatch.setattr(uploads, "_STORE_SECONDS", 0.01)
    request = asyncio.create_task(upload(conversations.client, address, conversations.owner))
    async with asyncio.timeout(20):
        await begun.wait()
        await app.state.uploads.finish()
        assert ended.is_set()
        await asyncio.wait({request})


async def test_an_author_who_could_not_write_for_a_moment_is_refused(
    committed_conversations: Conversations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader when a part of the draft was sent, and a writer again when the text was stored."""

    async def refuse(*_args: object, **_named: object) -> list[int]:
        return []

    monkeypatch.setattr(repository, "send_of_writers", refuse)
    made = committed_conversations
    address = await made.add()
    async with asyncio.timeout(20):
        response = await upload(made.client, address, made.owner, is_endless=True)
    assert_problem(response, 403, "upload-refused")
    assert "Retry-After" not in response.headers
    shown = await made.get(response.headers["Location"])
    assert (shown["content"], shown["interrupted"]) == ("mine", True)
