"""What is the same in all libraries: their use before they are open, and the fakes that take their place."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from kpi_kit.cache import Cache, CacheFake
from kpi_kit.errors import KitError, NotOpenError
from kpi_kit.events import Event, EventBus, EventFake
from kpi_kit.hashing import Hasher, HashFake
from kpi_kit.http import HttpClient, HttpFake
from kpi_kit.mail import Mailer, MailFake, Message
from kpi_kit.notify import Notification, Notifier, NotifyFake, Recipient, TextContent
from kpi_kit.notify.drivers.postgres import PostgresStore
from kpi_kit.queue import Job, Queue, QueueFake
from kpi_kit.storage import Storage, StorageFake

MAIL = Message(to=["ben@example.com"], subject="Hello", text="Hello")


class Created(Event):
    event_name = "user.created"


class Paid(Notification):
    def via(self, _recipient: Recipient) -> list[str]:
        return ["chat"]

    def to_text(self, _recipient: Recipient) -> TextContent:
        return TextContent(title="Paid", text="20 EUR")


class Counted(Job, name="count"):
    pass


LIBRARIES: dict[str, tuple[Callable[[], Any], Callable[[Any], Awaitable[object]]]] = {
    "HTTP client": (lambda: HttpClient.from_url("http://127.0.0.1:9"), lambda http: http.get("/")),
    "mailer": (lambda: Mailer.from_url("memory://", sender="a@example.com"), lambda mailer: mailer.send(MAIL)),
    "cache": (lambda: Cache.from_url("memory://"), lambda cache: cache.get("a")),
    "storage": (lambda: Storage.from_url("memory://"), lambda storage: storage.exists("a")),
    "queue": (lambda: Queue.from_url("memory://"), lambda queue: queue.push(Counted())),
    "event bus": (lambda: EventBus.from_url("memory://", events=[Created]), lambda bus: bus.dispatch(Created())),
    "notifier": (lambda: Notifier.from_urls({"chat": "memory://slack"}), lambda one: one.send(Paid(), Recipient("42"))),
    "store of notifications": (
        lambda: PostgresStore("postgresql://a@127.0.0.1:9/a"),
        lambda store: store.count_unread("42"),
    ),
    "hasher": (lambda: Hasher.from_url("argon2id://"), lambda hasher: hasher.make("correct horse")),
}


@pytest.mark.parametrize("what", LIBRARIES)
async def test_a_library_that_is_not_open_says_so(what: str) -> None:
    build, use = LIBRARIES[what]
    with pytest.raises(NotOpenError, match=f"^the {what} is not open") as raised:
        await use(build())
    assert isinstance(raised.value, KitError)


@pytest.mark.parametrize(
    ("fake", "url", "options"),
    [
        (HttpFake, "https://api.example.com/v1", {"context_headers": dict, "proxy": None}),
        (MailFake, "smtp://a:b@mail.example.com", {"named": {"bulk": "ses://eu-central-1"}, "sender": "a@example.com"}),
        (CacheFake, "redis://cache:6379/0", {"stores": {"sessions": "redis://cache:6379/1"}}),
        (StorageFake, "s3://bucket/prefix", {}),
        (QueueFake, "postgresql://a:b@db/shop", {}),
        (EventFake, "nats://nats:4222", {"events": [Created]}),
        (HashFake, "argon2id://?workers=2", {}),
    ],
)
async def test_a_fake_from_a_url_is_a_fake(fake: Any, url: str, options: dict[str, Any]) -> None:
    made = fake.from_url(url, **options, observer=None)
    assert type(made) is fake
    async with made:
        if fake is MailFake:
            await made.via("bulk").send(MAIL)
            assert made.assert_sent(via="bulk").sender == "a@example.com"
        if fake is CacheFake:
            assert type(made.store("sessions")) is CacheFake


async def test_a_fake_from_urls_renders_what_their_channels_do() -> None:
    async with NotifyFake.from_urls(
        {"chat": "slack://hooks.slack.com/services/T000/B000/token"}, observer=None
    ) as fake:
        await fake.send(Paid(), Recipient("42"))
        assert [(each.channel, set(each.content)) for each in fake.deliveries] == [("chat", {"blocks", "text"})]
