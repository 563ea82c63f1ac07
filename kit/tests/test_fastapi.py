"""The libraries of the kit in an application, with the telemetry of a service."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi import FastAPI
from faulty_server import serving
from kpi_kit.cache import Cache as CacheLibrary
from kpi_kit.crypt import Crypt as CryptLibrary
from kpi_kit.errors import KitNotOpenError, NoEffectError, NotConfiguredError, NotOpenError, UrlError
from kpi_kit.events import Event, EventBus
from kpi_kit.fastapi import Cache, Crypt, Disks, Events, Hash, Http, Kit, Mail, Notify, Queue, Storage, open_kit
from kpi_kit.hashing import Hasher
from kpi_kit.http import HttpClient
from kpi_kit.mail import Mailer, Message
from kpi_kit.notify import Notification, Notifier, Recipient, TextContent
from kpi_kit.queue import Queue as QueueLibrary
from kpi_kit.settings import KitSettings
from kpi_kit.storage import Disks as DisksLibrary
from kpi_kit.storage import Storage as StorageLibrary
from kpi_shared.http.middleware import RequestContext
from kpi_shared.settings import PartSettings
from kpi_shared.telemetry.observation import Observation

NAMES = ["http", "mail", "cache", "storage", "disks", "queue", "events", "notify", "hashing", "crypt"]
FERNET_KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
ALL = {
    "mail_url": "memory://",
    "cache_url": "memory://",
    "cache_stores": {"sessions": "memory://"},
    "storage_url": "memory://",
    "storage_disks": {"invoices": "memory://"},
    "queue_url": "memory://",
    "events_url": "memory://",
    "notify_urls": {"sms": "memory://sms"},
    "hashing_url": "argon2id://?time_cost=1&memory_kib=8192&workers=1",
    "crypt_keys": {"2026": base64.b64encode(bytes(range(32))).decode()},
    "crypt_fernet_keys": [FERNET_KEY],
}


class UserCreated(Event):
    event_name = "user.created"

    name: str


class Paid(Notification):
    def via(self, _recipient: Recipient) -> list[str]:
        return ["mail"]

    def to_text(self, _recipient: Recipient) -> TextContent:
        return TextContent(title="Two", text="hunter2")


def read_mails(folder: Path) -> str:
    return "".join(file.read_text() for file in folder.iterdir())


def build_app(observation: Observation | None = None) -> FastAPI:
    app = FastAPI()
    if observation is not None:
        app.add_middleware(RequestContext, access_log=False, observation=observation)

    @app.get("/kinds")
    async def list_kinds(  # noqa: PLR0917 the dependencies
        http: Http, mail: Mail, cache: Cache, storage: Storage, disks: Disks, queue: Queue, events: Events,
        notify: Notify, hashing: Hash, crypt: Crypt,
    ) -> list[str]:  # fmt: skip
        libraries = [http, mail, cache, storage, disks, queue, events, notify, hashing, crypt]
        return [type(each).__name__ for each in libraries]

    @app.get("/cached")
    async def count(cache: Cache) -> int:
        return await cache.increment("calls")

    @app.get("/called")
    async def call(http: Http) -> Any:
        return await http.get_json("/other")

    return app


@asynccontextmanager
async def opened(app: FastAPI, settings: KitSettings, **options: Any) -> AsyncIterator[tuple[Kit, httpx.AsyncClient]]:
    transport = httpx.ASGITransport(app)
    async with (
        open_kit(app, settings, **options) as kit,
        httpx.AsyncClient(transport=transport, base_url="http://a") as client,
    ):
        yield kit, client


@pytest.fixture
def observation() -> Observation:
    part = SimpleNamespace(name="shop", program="kpi-shop")
    settings = SimpleNamespace(part=part, otel_exporter_otlp_endpoint=None, slow_request_seconds=1)
    return Observation(cast("PartSettings", settings), version="1")


async def test_each_dependency_is_its_library() -> None:
    settings = KitSettings.model_validate({**ALL, "http_url": "http://127.0.0.1:1"})
    async with opened(build_app(), settings, events=[UserCreated]) as (kit, client):
        kinds = [HttpClient, Mailer, CacheLibrary, StorageLibrary, DisksLibrary, QueueLibrary, EventBus]
        kinds += [Notifier, Hasher, CryptLibrary]
        assert (await client.get("/kinds")).json() == [kind.__name__ for kind in kinds]
        assert [type(getattr(kit, name)) for name in NAMES] == kinds
        assert await kit.hashing.verify("a", await kit.hashing.make("a"))
        assert kit.crypt.decrypt(kit.crypt.encrypt(b"a")) == b"a"
        assert kit.crypt.decrypt(Fernet(FERNET_KEY).encrypt(b"b").decode()) == b"b"


async def test_mails_and_notifications_go_through_the_queue_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads: list[str] = []
    push = QueueLibrary._push

    async def note(self: QueueLibrary, envelopes: Any, connection: Any) -> Any:
        payloads.extend(json.dumps(each.payload) for each in envelopes)
        return await push(self, envelopes, connection)

    monkeypatch.setattr(QueueLibrary, "_push", note)
    more = {
        "mail_url": f"file://{tmp_path}",
        "mail_from": "shop@example.com",
        "queue_url": "sync://",
        "notify_urls": {},
    }
    async with opened(build_app(), KitSettings.model_validate({**ALL, **more}), events=[UserCreated]) as (kit, _):
        # The mailer alone is a channel.
        await kit.mail.enqueue(Message(to="anna@example.com", subject="One", text="hunter2"))
        await kit.notify.send(Paid(), Notifier.route("mail", "ben@example.com"))
    assert read_mails(tmp_path).count("hunter2") == 2
    assert len(payloads) == 2
    assert "hunter2" not in str(payloads)


async def test_what_is_not_configured_says_which_setting_is_missing() -> None:
    async with opened(build_app(), KitSettings()) as (kit, client):
        with pytest.raises(NotConfiguredError, match="cache is not configured: set CACHE_URL"):
            await client.get("/cached")
        for name in NAMES:
            with pytest.raises(NotConfiguredError, match=f"{name} is not configured: set [A-Z_]+"):
                getattr(kit, name)


async def test_a_bus_without_types_of_events_prevents_the_start() -> None:
    settings = KitSettings.model_validate({"events_url": "nats://:hunter2@nats"})
    with pytest.raises(NoEffectError, match=r"EVENTS_URL is set.* in_own_database.* events=") as caught:
        async with open_kit(FastAPI(), settings):
            pass
    assert "hunter2" not in str(caught.value)


async def test_without_the_kit_in_the_lifespan_that_is_said() -> None:
    app = build_app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        with pytest.raises(KitNotOpenError, match="open_kit"):
            await client.get("/cached")


async def test_all_is_closed_at_the_end_and_can_be_opened_again() -> None:
    app, settings = (
        build_app(),
        KitSettings.model_validate({"http_url": "http://127.0.0.1:1", "cache_url": "memory://"}),
    )
    async with opened(app, settings) as (kit, client):
        assert (await client.get("/cached")).json() == 1
        http = kit.http
    with pytest.raises(NotOpenError):
        await http.get("/x")
    assert not hasattr(app.state, "kit")
    async with opened(app, settings) as (_, client):
        assert (await client.get("/cached")).json() == 1


async def test_a_wrong_url_prevents_the_start_and_is_not_quoted() -> None:
    with pytest.raises(UrlError) as caught:
        async with open_kit(FastAPI(), KitSettings.model_validate({"cache_url": "rediz://:hunter2@cache"})):
            pass
    assert "hunter2" not in str(caught.value)


async def test_calls_are_counted_and_the_request_id_and_trace_are_passed_on(observation: Observation) -> None:
    headers = {"X-Request-ID": "r1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    options = {"observer": observation.calls, "context_headers": observation.outgoing_headers}
    async with serving() as server:
        settings = KitSettings.model_validate({"http_url": server.url, "cache_url": "memory://"})
        async with opened(build_app(observation), settings, **options) as (_, client):
            assert (await client.get("/called", headers=headers)).json() == {"id": "a"}
            assert (await client.get("/cached")).json() == 1
    assert [server.requests[0].header(name) for name in headers] == list(headers.values())
    calls = next(iter(observation.calls.collect()))
    found = {tuple(sample.labels.values()): sample.value for sample in calls.samples}
    assert found["shop", "http", "get", "httpx", "ok"] == 1
    assert found["shop", "cache", "increment", "memory", "ok"] == 1
