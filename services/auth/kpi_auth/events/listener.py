"""Waits for notifications of new events, on a connection of its own that goes through no pooler.

What is woken also looks by itself five times a second: a lost notification costs that time.
"""

import asyncio

import psycopg
import structlog
from kpi_shared.background import Schedule, repeat
from kpi_shared.database_url import connection_arguments
from psycopg.conninfo import make_conninfo

from kpi_auth.events import repository
from kpi_auth.settings import AuthSettings

log = structlog.get_logger(__name__)

_SCHEDULE = Schedule(interval=1.0, first_backoff=1.0, longest_backoff=30.0)


class Listener:
    def __init__(self, settings: AuthSettings, wake: asyncio.Event) -> None:
        self._wake = wake
        self._address = _find_address(settings)
        self.is_listening = False

    async def run(self) -> None:
        """Do nothing without LISTEN_DATABASE_URL."""
        if self._address is not None:
            await repeat(self._listen, _SCHEDULE, failure="listener of events lost")

    async def _listen(self) -> bool:
        """Listen until the connection is lost."""
        connection = await psycopg.AsyncConnection.connect(self._address or "", autocommit=True)
        try:
            await repository.listen(connection)
            self.is_listening = True
            # What was written before is not notified again.
            self._wake.set()
            async for _notification in connection.notifies():
                self._wake.set()
        finally:
            self.is_listening = False
            await connection.close()
        return False


def _find_address(settings: AuthSettings) -> str | None:
    if settings.listen_database_url is None:
        return None
    url = settings.listen_database_url.get_secret_value()
    name = f"{settings.part.program}-events"
    return make_conninfo("", **connection_arguments(url, application_name=name, options=""))
