"""Waits for notifications of the database, on a connection of its own that goes through no pooler.

A notification may be lost with the connection, so what is woken also looks by itself now and then.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kpi_shared.background import Schedule, repeat
from kpi_shared.database_url import connection_arguments

_SCHEDULE = Schedule(interval=1.0, first_backoff=1.0, longest_backoff=30.0)

Listen = Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]]


class Listener:
    """``listen`` sends the LISTEN statements.

    ``on_begin`` is called when they have been sent: what was written before is not notified again.
    """

    def __init__(
        self,
        url: SecretStr | None,
        *,
        name: str,
        listen: Listen,
        on_begin: Callable[[], None],
        on_notification: Callable[[psycopg.Notify], None],
    ) -> None:
        self._address = None if url is None else _find_address(url, name)
        self._name = name
        self._listen = listen
        self._on_begin = on_begin
        self._on_notification = on_notification
        self.is_listening = False

    async def run(self) -> None:
        """Do nothing without an address."""
        if self._address is not None:
            await repeat(self._follow, _SCHEDULE, failure=f"listener {self._name} lost")

    async def _follow(self) -> bool:
        """Listen until the connection is lost."""
        connection = await psycopg.AsyncConnection.connect(self._address or "", autocommit=True)
        try:
            await self._listen(connection)
            self.is_listening = True
            self._on_begin()
            async for notification in connection.notifies():
                self._on_notification(notification)
        finally:
            self.is_listening = False
            await connection.close()
        return False


def _find_address(url: SecretStr, name: str) -> str:
    return make_conninfo("", **connection_arguments(url.get_secret_value(), application_name=name, options=""))
