"""One channel of each driver, with the server behind it."""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs

import psycopg
from kpi_kit.mail import Mailer
from kpi_kit.notify import (
    ChannelUnavailableError,
    DeliveryError,
    DeliveryRefusedError,
    Notifier,
    NotifyFake,
    Recipient,
)
from kpi_kit.notify.drivers.postgres import PostgresStore
from kpi_shared.testing.postgres import create_database
from mail_servers import MailServer, serving
from notify_servers import SECRET, Request, Service, run_service
from psycopg.conninfo import conninfo_to_dict, make_conninfo

SECONDS = 0.5


@dataclass
class Rig:
    """A notifier with one channel, and what happens behind it. ``read`` returns what was accepted, as texts."""

    notifier: Notifier
    channel: str
    recipient: Recipient
    read: Callable[[], "AbstractAsyncContextManager[list[str]]"]
    # Put the server into a state: "refusing", "down", "hanging" or "well".
    put: Callable[[str], "AbstractAsyncContextManager[None]"]
    states: dict[str, type[DeliveryError]]


_HTTP = {"refusing": DeliveryRefusedError, "down": ChannelUnavailableError, "hanging": ChannelUnavailableError}


@asynccontextmanager
async def _http_rig(url: str, address: str, text: Callable[[Request], str], refusal: str) -> AsyncIterator[Rig]:
    async with run_service() as service:
        urls = {"it": url.replace("PORT", str(service.port))}
        recipient = Recipient("42", {"it": address.replace("PORT", str(service.port))})

        @asynccontextmanager
        async def put(state: str) -> AsyncIterator[None]:
            _set(service, state, refusal)
            yield
            _set(service, "well", refusal)

        @asynccontextmanager
        async def read() -> AsyncIterator[list[str]]:
            yield [text(request) for request in service.accepted]

        async with Notifier.from_urls(urls, seconds=SECONDS) as notifier:
            yield Rig(notifier, "it", recipient, read, put, _HTTP)


def _set(service: Service, state: str, refusal: str) -> None:
    service.hangs = state == "hanging"
    service.status = {"refusing": refusal, "down": "503 Service Unavailable"}.get(state, "200 OK")


@asynccontextmanager
async def slack() -> AsyncIterator[Rig]:
    url = "slack+http://127.0.0.1:PORT/services/T000/B000/secret-token"
    async with _http_rig(
        url, "", lambda request: str(json.loads(request.body)["text"]).rpartition("\n")[2], "404 Not Found"
    ) as rig:
        yield rig


@asynccontextmanager
async def twilio() -> AsyncIterator[Rig]:
    url = "twilio+http://AC000:secret-token@127.0.0.1:PORT?from=%2B15550199"
    async with _http_rig(
        url, "+15550100", lambda request: parse_qs(request.body.decode())["Body"][0], "400 Bad Request"
    ) as rig:
        yield rig


@asynccontextmanager
async def webhook() -> AsyncIterator[Rig]:
    url = f"webhook+http://:{SECRET}@?allow=127.0.0.0/8"
    address = "http://127.0.0.1:PORT/hooks/secret-token"
    async with _http_rig(
        url, address, lambda request: f"Invoice {json.loads(request.body)['data']['number']} is paid", "410 Gone"
    ) as rig:
        yield rig


@asynccontextmanager
async def apprise() -> AsyncIterator[Rig]:
    url = "apprise+json://user:secret-token@127.0.0.1:PORT/hooks"
    async with _http_rig(url, "", lambda request: str(json.loads(request.body)["message"]), "404 Not Found") as rig:
        # It does not say why.
        rig.states = dict.fromkeys(rig.states, ChannelUnavailableError)
        yield rig


@asynccontextmanager
async def mail() -> AsyncIterator[Rig]:
    async with serving(MailServer()) as server, Mailer.from_url(server.url, sender="a@example.com") as mailer:

        @asynccontextmanager
        async def put(state: str) -> AsyncIterator[None]:
            server.hangs = state == "hanging"
            server.recipient_answer = {"refusing": "550 No", "down": "451 Later"}.get(state, "250 OK")
            yield
            server.released.set()
            server.hangs, server.recipient_answer = False, "250 OK"

        @asynccontextmanager
        async def read() -> AsyncIterator[list[str]]:
            yield [str(message.get_content()).strip() for message in server.messages]

        async with Notifier.from_urls({}, mailer=mailer, seconds=SECONDS) as notifier:
            yield Rig(notifier, "mail", Recipient("42", {"mail": "anna@example.com"}), read, put, _HTTP)


@asynccontextmanager
async def postgres() -> AsyncIterator[Rig]:
    url = create_database(f"kit_notify_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}").replace(
        "postgresql+psycopg://", "postgresql://"
    )

    @asynccontextmanager
    async def put(state: str) -> AsyncIterator[None]:
        if state == "hanging":
            async with await psycopg.AsyncConnection.connect(url) as connection:
                await connection.execute("LOCK TABLE kpi_notifications")
                yield
        else:
            await _allow(url, is_allowed=False)
            yield
            await _allow(url, is_allowed=True)

    @asynccontextmanager
    async def read() -> AsyncIterator[list[str]]:
        async with PostgresStore(url) as store:
            rows = await store.list_page("42")
            yield [f"Invoice {row.data['number']} is paid" for row in reversed(rows)]

    async with PostgresStore(url) as store:
        await store.create_table()
    async with Notifier.from_urls({"list": url}, seconds=SECONDS) as notifier:
        yield Rig(
            notifier, "list", Recipient("42"), read, put, dict.fromkeys(("down", "hanging"), ChannelUnavailableError)
        )


async def _allow(url: str, *, is_allowed: bool) -> None:
    """As a server that restarts: it ends all connections, and takes no others."""
    own = conninfo_to_dict(url)["dbname"]
    async with await psycopg.AsyncConnection.connect(
        make_conninfo(url, dbname="postgres"), autocommit=True
    ) as connection:
        await connection.execute(f'ALTER DATABASE "{own}" ALLOW_CONNECTIONS {is_allowed}'.encode())
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [own])


@asynccontextmanager
async def fake() -> AsyncIterator[Rig]:
    async with NotifyFake() as notifier:

        @asynccontextmanager
        async def put(state: str) -> AsyncIterator[None]:
            notifier.fail("text", _HTTP[state]("the test wants it"))
            yield
            notifier.fail("text", None)

        @asynccontextmanager
        async def read() -> AsyncIterator[list[str]]:
            yield [str(delivery.content["text"]) for delivery in notifier.deliveries]

        yield Rig(notifier, "text", Recipient("42"), read, put, _HTTP)


# A table takes every recipient.
STATES = {
    name: ("down", "hanging") if name == "postgres" else ("refusing", "down", "hanging")
    for name in ("slack", "twilio", "webhook", "apprise", "mail", "postgres", "fake")
}
RIGS = {rig.__name__: rig for rig in (slack, twilio, webhook, apprise, mail, postgres, fake)}
