"""Helpers for the outbox, and a transport to a mail server that a test controls."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from kpi_auth.context import Context
from kpi_auth.mails import outbox
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.settings import AuthSettings
from kpi_kit.mail.drivers.smtp import SmtpTransport
from kpi_kit.mail.targets import SmtpServer
from kpi_kit.mail.urls import read_target
from kpi_shared.database import AnyRow, Database
from kpi_shared.testing.postgres import URL_VARIABLE
from mail_servers import MailServer
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

LINK = "https://kpi.example.com/verify-email?code=abc123"
ANNA = Mail(Template.VERIFY_EMAIL, "anna@example.com", {"username": "anna", "link": LINK})


async def put(database: Database, context: Context, *mails: Mail) -> None:
    async with database.writing() as connection:
        for mail in mails:
            await outbox.put(context, connection, mail)


async def rows(database: Database) -> list[AnyRow]:
    async with database.reading() as connection:
        statement = "SELECT *, extract(epoch FROM due_at - now()) AS wait FROM mails ORDER BY id"
        return list((await connection.execute(text(statement))).all())


async def execute(database: Database, statement: str, **values: object) -> None:
    async with database.writing() as connection:
        await connection.execute(text(statement), values)


def smtp(server: MailServer, *, seconds: float = 30) -> SmtpTransport:
    _, target = read_target(server.url)
    assert isinstance(target, SmtpServer)
    return SmtpTransport(target, seconds=seconds)


class WatchedDatabase(Database):
    """Sets an event when the database cannot be reached."""

    def __init__(self, settings: AuthSettings) -> None:
        super().__init__(settings)
        self.missed = asyncio.Event()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Any]:
        try:
            async with super().writing() as connection:
                yield connection
        except OperationalError:
            self.missed.set()
            raise


def close_to_all(name: str, *, closed: bool) -> None:
    with psycopg.connect(os.environ[URL_VARIABLE], autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {str(not closed).lower()}'.encode())
        if closed:
            end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
            connection.execute(end, [name])


async def until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
