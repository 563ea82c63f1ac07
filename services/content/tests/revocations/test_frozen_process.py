"""A process that stood still reads old heartbeats when it goes on, and must not take them for new ones."""

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx
from content_support import assert_problem
from feed_stand_in import KEY, StandIn, eventually
from kpi_shared.caller import Role
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import launch_part
from kpi_shared.tokens import TokenCodec

LIMIT = 1.0


async def test_after_a_stop_the_age_is_the_real_one(
    worker: str, secret_key: str, tokens: TokenCodec, feeds: tuple[StandIn, StandIn], tmp_path: Path
) -> None:
    url = create_migrated_database("kpi_content", f"content_frozen_{worker}")
    environment = {
        "DATABASE_URL": url,
        "PASETO_SECRET_KEY": secret_key,
        "AUTH_INTERNAL_URL": feeds[0].address,
        "FEED_KEY": KEY,
        "REVOCATION_SILENCE_LIMIT": str(LIMIT),
    }
    token = tokens.mint(user_id=1, username="eve", role=Role.USER, session_id="1", lifetime=timedelta(minutes=5))
    start = launch_part("kpi_content", environment, log=tmp_path / "content.log", is_patient=False)
    part = await asyncio.to_thread(start.__enter__)
    try:
        async with httpx.AsyncClient(
            base_url=part.address, headers={"Authorization": f"Bearer {token}"}, timeout=30
        ) as client:

            async def write() -> httpx.Response:
                return await client.post("/posts", json={"title": "A title", "content": ""})

            async def is_written() -> bool:
                return (await write()).status_code == 201

            await eventually(is_written)
            with part.suspend():
                # The stand-in goes on meanwhile, and fills the buffer of the connection.
                await asyncio.sleep(3 * LIMIT)
                feeds[0].status = 500
            for _ in range(5):
                assert_problem(await write(), 503, "revocations-unknown")
            feeds[0].status = 200
            await eventually(is_written)
    finally:
        await asyncio.to_thread(start.__exit__, None, None, None)
