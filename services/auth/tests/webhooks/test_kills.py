"""Auth is killed again and again while it sends events, beside a replica that is not."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from auth_support import context_with
from kpi_auth.events import repository as events
from kpi_auth.settings import AuthSettings
from kpi_auth.webhooks import repository
from kpi_shared.database import Database
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import PartProcess, launch_part
from pydantic import SecretStr
from webhook_support import Message, Receiver, add_webhook, publish, receiving, rows, sign_in_root, status

ACCOUNTS = [number % 8 + 1 for number in range(60)]
# A process is killed after so many messages of its round, in the middle of one that is being answered.
KILLS = [3, 35]
EVENTS = len(ACCOUNTS) * len(KILLS)


@pytest.fixture
def settings(worker: str, secret_key: str) -> AuthSettings:
    return AuthSettings(
        database_url=SecretStr(create_migrated_database("kpi_auth", f"webhook_kills_{worker}")),
        paseto_secret_key=SecretStr(secret_key),
        webhook_allowed_networks=("127.0.0.0/8",),
    )


@asynccontextmanager
async def launched(settings: AuthSettings, log: Path) -> AsyncIterator[PartProcess]:
    """Wait for the process in a thread: the receiver runs in this one."""
    environment = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "PASETO_SECRET_KEY": settings.paseto_secret_key.get_secret_value(),
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
    }
    launch = launch_part("kpi_auth", environment, log=log)
    part = await asyncio.to_thread(launch.__enter__)
    try:
        yield part
    finally:
        await asyncio.to_thread(launch.__exit__, None, None, None)


async def wait_for_end(part: PartProcess, database: Database) -> None:
    """Return when everything has been queued and sent."""
    async with asyncio.timeout(120):
        while await rows(database) or await is_any_behind(database):
            assert part.process.poll() is None
            await asyncio.sleep(0.05)


async def is_any_behind(database: Database) -> bool:
    async with database.reading() as connection:
        last = (await events.get_ends(connection)).last
        return await repository.is_any_behind(connection, last=last)


async def test_kills_lose_no_event_and_keep_the_order_of_each_account(settings: AuthSettings, tmp_path: Path) -> None:
    database = Database(settings)
    victims: dict[int, PartProcess] = {}

    async def answer_slowly(message: Message, writer: asyncio.StreamWriter) -> None:
        if (victim := victims.pop(len(receiver.messages), None)) is not None:
            victim.process.kill()
        await asyncio.sleep(0.02)
        await status(200)(message, writer)

    async with receiving(Receiver(answer_slowly)) as receiver:
        await sign_in_root(database)
        await add_webhook(context_with(settings, database), receiver.url)
        async with launched(settings, tmp_path / "survivor.log") as survivor:
            for number, after in enumerate(KILLS):
                async with launched(settings, tmp_path / f"auth{number}.log") as part:
                    victims[len(receiver.messages) + after] = part
                    await publish(database, *ACCOUNTS)
                    await asyncio.to_thread(part.process.wait, 60)
                    await wait_for_end(survivor, database)
    assert len(set(receiver.seqs)) == EVENTS
    first_seen = defaultdict(list)
    for message in receiver.messages:
        if message.seq not in first_seen[message.account_id]:
            first_seen[message.account_id].append(message.seq)
    assert all(seqs == sorted(seqs) for seqs in first_seen.values())
    # A kill repeats at most what was being sent.
    assert len(receiver.messages) - EVENTS <= 4 * len(KILLS)
    await database.close()
