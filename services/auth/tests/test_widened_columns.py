"""A migration that widens a column while requests run."""

import asyncio
from collections import Counter

import httpx
from auth_support import Accounts
from fastapi import FastAPI
from sqlalchemy import text


async def test_no_request_fails_while_a_column_is_widened(
    shared_accounts: Accounts, shared_client: httpx.AsyncClient, running_app: FastAPI
) -> None:
    account = await shared_accounts.add("anna")
    statuses: Counter[int] = Counter()
    rounds = asyncio.Semaphore(0)

    async def load() -> None:
        while True:
            response = await shared_client.get("/auth/me", headers=account.headers)
            statuses[response.status_code] += 1
            response = await shared_client.get("/users", headers=account.headers)
            statuses[response.status_code] += 1
            rounds.release()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        tasks = [group.create_task(load()) for _ in range(4)]
        for kind in ("varchar(255)", "text", None):
            for _ in range(40):
                await rounds.acquire()
            if kind is not None:
                async with running_app.state.database.writing() as connection:
                    await connection.execute(text(f"ALTER TABLE users ALTER COLUMN username TYPE {kind}"))
        for task in tasks:
            task.cancel()
    assert set(statuses) == {200}
