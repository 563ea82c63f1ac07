"""Auth is killed again and again while it sends mails."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from auth_support import context_with
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.settings import AuthSettings
from kpi_shared.database import Database
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import PartProcess, launch_part
from mail_servers import MailServer, serving
from mail_support import put, rows
from pydantic import SecretStr

MAILS = 100
# Milliseconds after the server received the last of so many contents.
KILLS = [(0, 10), (3, 40), (0, 70)]


class KillingServer(MailServer):
    """Kills the sender when it has received so many mails, before or after its response."""

    sender: PartProcess | None = None
    kills: list[tuple[int, int]]

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 the library's name
        response = await super().handle_DATA(server, session, envelope)
        # Slow enough that mails are left for each of the processes.
        await asyncio.sleep(0.02)
        if self.kills and self.sender and len(self.contents) >= self.kills[0][1]:
            delay, _ = self.kills.pop(0)
            asyncio.get_running_loop().call_later(delay / 1000, self.sender.process.kill)
            self.sender = None
        return response


@pytest.fixture
def settings(worker: str, secret_key: str) -> AuthSettings:
    return AuthSettings(
        database_url=SecretStr(create_migrated_database("kpi_auth", f"kills_{worker}")),
        paseto_secret_key=SecretStr(secret_key),
        mail_url=SecretStr("smtp://127.0.0.1:9"),
    )


@asynccontextmanager
async def launched(environment: dict[str, str], log: Path) -> AsyncIterator[PartProcess]:
    """Wait for the process in a thread: the mail server runs in this one."""
    launch = launch_part("kpi_auth", environment, log=log)
    part = await asyncio.to_thread(launch.__enter__)
    try:
        yield part
    finally:
        await asyncio.to_thread(launch.__exit__, None, None, None)


async def wait_for_end(part: PartProcess, database: Database) -> None:
    """Return when the process is dead, or when it has sent all mails."""
    async with asyncio.timeout(60):
        while part.process.poll() is None and any(row.state == "pending" for row in await rows(database)):  # noqa: ASYNC110 another process's effects
            await asyncio.sleep(0.05)


async def test_kills_lose_no_mail_and_double_one_each_at_most(settings: AuthSettings, tmp_path: Path) -> None:
    database = Database(settings)
    names = [f"user{number}@example.com" for number in range(MAILS)]
    mails = [Mail(Template.SESSIONS_ENDED, name, {"username": "user"}) for name in names]
    await put(database, context_with(settings, database), *mails)
    async with serving(KillingServer()) as server:
        server.kills = list(KILLS)
        environment = {
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "PASETO_SECRET_KEY": settings.paseto_secret_key.get_secret_value(),
            "MAIL_URL": server.url,
        }
        for number in range(len(KILLS) + 1):
            async with launched(environment, log=tmp_path / f"auth{number}.log") as part:
                server.sender = part
                await wait_for_end(part, database)
    sent = Counter(message["Message-ID"] for message in server.messages)
    assert server.kills == []
    assert len(sent) == MAILS
    assert {row.state for row in await rows(database)} == {"sent"}
    assert sum(sent.values()) - MAILS <= len(KILLS)
    await database.close()
