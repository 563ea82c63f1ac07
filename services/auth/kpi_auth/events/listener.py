"""Wakes the feed when events are committed. It also looks by itself five times a second."""

import asyncio

import psycopg
from kpi_shared.database.listening import Listener

from kpi_auth.events import repository
from kpi_auth.settings import AuthSettings


def create_listener(settings: AuthSettings, wake: asyncio.Event) -> Listener:
    def wake_up(_notification: psycopg.Notify) -> None:
        wake.set()

    return Listener(
        settings.listen_database_url,
        name=f"{settings.part.program}-events",
        listen=repository.listen,
        on_begin=wake.set,
        on_notification=wake_up,
    )
