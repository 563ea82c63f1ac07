"""The libraries of the kit in a FastAPI application: opened by its lifespan, and given to endpoints.

A library is imported only if it is configured, so that an image need not have what it does not use.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, FastAPI
from fastapi.requests import HTTPConnection

from kpi_kit.errors import KitNotOpenError, NoEffectError, NotConfiguredError
from kpi_kit.observing import Observer
from kpi_kit.settings import KitSettings

if TYPE_CHECKING:
    import kpi_kit.cache
    import kpi_kit.crypt
    import kpi_kit.events
    import kpi_kit.hashing
    import kpi_kit.http
    import kpi_kit.mail
    import kpi_kit.notify
    import kpi_kit.queue
    import kpi_kit.storage


# What each library is, and the setting without which it is not opened.
_SETTINGS = {
    "http": "HTTP_URL",
    "mail": "MAIL_URL",
    "cache": "CACHE_URL",
    "storage": "STORAGE_URL",
    "disks": "STORAGE_DISKS",
    "queue": "QUEUE_URL",
    "events": "EVENTS_URL",
    "notify": "NOTIFY_URLS or MAIL_URL",
    "hashing": "HASHING_URL",
    "crypt": "CRYPT_KEYS",
}
ContextHeaders = Callable[[], Mapping[str, str]]
_Library = AbstractAsyncContextManager[Any]


class Kit:
    """The libraries of one application; NotConfiguredError for one whose setting is empty."""

    def __init__(self, libraries: Mapping[str, object]) -> None:
        self._libraries = libraries

    def get_or_raise(self, name: str) -> Any:  # noqa: ANN401 the properties have the types
        try:
            return self._libraries[name]
        except KeyError:
            raise NotConfiguredError(name, _SETTINGS[name]) from None

    @property
    def http(self) -> "kpi_kit.http.HttpClient":
        return cast("kpi_kit.http.HttpClient", self.get_or_raise("http"))

    @property
    def mail(self) -> "kpi_kit.mail.Mailer":
        return cast("kpi_kit.mail.Mailer", self.get_or_raise("mail"))

    @property
    def cache(self) -> "kpi_kit.cache.Cache":
        return cast("kpi_kit.cache.Cache", self.get_or_raise("cache"))

    @property
    def storage(self) -> "kpi_kit.storage.Storage":
        return cast("kpi_kit.storage.Storage", self.get_or_raise("storage"))

    @property
    def disks(self) -> "kpi_kit.storage.Disks":
        return cast("kpi_kit.storage.Disks", self.get_or_raise("disks"))

    @property
    def queue(self) -> "kpi_kit.queue.Queue":
        return cast("kpi_kit.queue.Queue", self.get_or_raise("queue"))

    @property
    def events(self) -> "kpi_kit.events.EventBus":
        return cast("kpi_kit.events.EventBus", self.get_or_raise("events"))

    @property
    def notify(self) -> "kpi_kit.notify.Notifier":
        return cast("kpi_kit.notify.Notifier", self.get_or_raise("notify"))

    @property
    def hashing(self) -> "kpi_kit.hashing.Hasher":
        return cast("kpi_kit.hashing.Hasher", self.get_or_raise("hashing"))

    @property
    def crypt(self) -> "kpi_kit.crypt.Crypt":
        return cast("kpi_kit.crypt.Crypt", self.get_or_raise("crypt"))


@asynccontextmanager
async def open_kit(
    app: FastAPI,
    settings: KitSettings,
    *,
    observer: Observer | None = None,
    context_headers: ContextHeaders | None = None,
    events: Iterable[type["kpi_kit.events.Event"]] = (),
    notifications: "kpi_kit.notify.NotificationStore | None" = None,
) -> AsyncIterator[Kit]:
    """Open what is configured, for endpoints and for the block; all is closed at its end.

    ``context_headers`` is what HTTP requests pass on (see HttpClient), ``events`` are the types of events that are sent
    or listened to, ``notifications`` is the table of the database channel. Mails that are enqueued, and notifications,
    go through the queue if there is one, encrypted if there are keys: a process that runs its ``work`` sends them.
    UrlError and MissingExtraError as of each library; NoEffectError if EVENTS_URL is set and no types are given.
    """
    libraries = _Builder(settings, observer, context_headers, events, notifications).build()
    async with AsyncExitStack() as stack:
        for library in libraries.values():
            await stack.enter_async_context(library)
        app.state.kit = Kit(libraries)
        try:
            yield app.state.kit
        finally:
            del app.state.kit


@dataclass(frozen=True)
class _Builder:
    settings: KitSettings
    observer: Observer | None
    context_headers: ContextHeaders | None
    events: Iterable[type["kpi_kit.events.Event"]]
    notifications: "kpi_kit.notify.NotificationStore | None"
    built: dict[str, _Library] = field(default_factory=dict)

    def build(self) -> dict[str, _Library]:
        """The libraries that are configured, each after those that it uses: so it is closed before them."""
        builders: dict[str, Callable[[], _Library | None]] = {
            "http": self._build_http,
            "cache": self._build_cache,
            "storage": self._build_storage,
            "disks": self._build_disks,
            "hashing": self._build_hashing,
            "crypt": self._build_crypt,
            "events": self._build_events,
            "queue": self._build_queue,
            "mail": self._build_mail,
            "notify": self._build_notify,
        }
        for name, build in builders.items():
            library = build()
            if library is not None:
                self.built[name] = library
        return self.built

    def _build_http(self) -> _Library | None:
        if self.settings.http_url is None:
            return None
        from kpi_kit.http import HttpClient

        url, headers = self.settings.http_url, self.context_headers
        return HttpClient.from_url(url, observer=self.observer, context_headers=headers)

    def _build_cache(self) -> _Library | None:
        if self.settings.cache_url is None:
            return None
        from kpi_kit.cache import Cache

        return Cache.from_url(self.settings.cache_url, stores=self.settings.cache_stores, observer=self.observer)

    def _build_storage(self) -> _Library | None:
        if self.settings.storage_url is None:
            return None
        from kpi_kit.storage import Storage

        return Storage.from_url(self.settings.storage_url, observer=self.observer)

    def _build_disks(self) -> _Library | None:
        if not self.settings.storage_disks:
            return None
        from kpi_kit.storage import Disks

        return Disks.from_urls(self.settings.storage_disks, observer=self.observer)

    def _build_hashing(self) -> _Library | None:
        if self.settings.hashing_url is None:
            return None
        from kpi_kit.hashing import Hasher

        return Hasher.from_url(self.settings.hashing_url, observer=self.observer)

    def _build_crypt(self) -> _Library | None:
        if not self.settings.crypt_keys:
            return None
        from kpi_kit.crypt import Crypt

        return Crypt(
            self.settings.crypt_keys,
            fernet_keys=self.settings.crypt_fernet_keys,
            cbc_keys=self.settings.crypt_cbc_keys,
            observer=self.observer,
        )

    def _build_events(self) -> _Library | None:
        if self.settings.events_url is None:
            return None
        from kpi_kit.events import EventBus

        events = tuple(self.events)
        if not events:
            own = "events" in self.settings.in_own_database
            setting = "in_own_database or EVENTS_URL" if own else "EVENTS_URL"
            raise NoEffectError(setting, "give the types of the events to open_kit, as events=[...]")
        return EventBus.from_url(self.settings.events_url, events=events, observer=self.observer)

    def _build_queue(self) -> _Library | None:
        if self.settings.queue_url is None:
            return None
        from kpi_kit.queue import Queue

        return Queue.from_url(self.settings.queue_url, observer=self.observer)

    def _build_mail(self) -> _Library | None:
        if self.settings.mail_url is None:
            return None
        from kpi_kit.mail import Mailer

        mailer = Mailer.from_url(
            self.settings.mail_url,
            sender=self.settings.mail_from,
            named=self.settings.mail_drivers,
            templates=self.settings.mail_templates,
            observer=self.observer,
        )
        kit = Kit(self.built)
        if "queue" in self.built:
            mailer.use_queue(kit.queue, cipher=kit.crypt if "crypt" in self.built else None)
        return mailer

    def _build_notify(self) -> _Library | None:
        has_channel = self.settings.notify_urls or self.notifications is not None or "mail" in self.built
        if not has_channel:
            return None
        from kpi_kit.notify import Notifier

        kit = Kit(self.built)
        return Notifier.from_urls(
            self.settings.notify_urls,
            mailer=kit.mail if "mail" in self.built else None,
            store=self.notifications,
            queue=kit.queue if "queue" in self.built else None,
            cipher=kit.crypt if "crypt" in self.built else None,
            observer=self.observer,
        )


async def _find_kit(connection: HTTPConnection) -> Kit:
    """KitNotOpenError if the application has not opened it."""
    kit: Kit | None = getattr(connection.app.state, "kit", None)
    if kit is None:
        raise KitNotOpenError
    return kit


class _Dependency:
    """Finds a library in the application that handles the request."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, connection: HTTPConnection) -> object:
        return (await _find_kit(connection)).get_or_raise(self._name)


# All of them, for an endpoint that hands several to a service function.
CurrentKit = Annotated[Kit, Depends(_find_kit)]
Http = Annotated["kpi_kit.http.HttpClient", Depends(_Dependency("http"))]
Mail = Annotated["kpi_kit.mail.Mailer", Depends(_Dependency("mail"))]
Cache = Annotated["kpi_kit.cache.Cache", Depends(_Dependency("cache"))]
Storage = Annotated["kpi_kit.storage.Storage", Depends(_Dependency("storage"))]
Disks = Annotated["kpi_kit.storage.Disks", Depends(_Dependency("disks"))]
Queue = Annotated["kpi_kit.queue.Queue", Depends(_Dependency("queue"))]
Events = Annotated["kpi_kit.events.EventBus", Depends(_Dependency("events"))]
Notify = Annotated["kpi_kit.notify.Notifier", Depends(_Dependency("notify"))]
Hash = Annotated["kpi_kit.hashing.Hasher", Depends(_Dependency("hashing"))]
Crypt = Annotated["kpi_kit.crypt.Crypt", Depends(_Dependency("crypt"))]
