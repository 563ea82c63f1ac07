"""Events in a stream of NATS JetStream, by nats-py (2.16).

Its reconnection is off: it stays blind for seconds after a restart of the server, and sends again what was in its
buffers without a word. Here a fault ends the connection, and the next call makes a new one.
"""

import asyncio
import logging
import ssl
from contextlib import suppress
from time import monotonic

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig

from kpi_kit.errors import NotOpenError, UrlError
from kpi_kit.events.contract import Deliver
from kpi_kit.events.errors import EventsUnavailableError
from kpi_kit.events.receiving import read_group, repeat_despite_faults, run_with_renewals
from kpi_kit.nats_client import NatsClient
from kpi_kit.urls import Url, read_number

_DEFAULT_TIMEOUT = 3.0
_LEASE_SECONDS = 15.0
_PORT = 4222
# A connection that has become silent is found after three of these, or by the next event.
_PING_SECONDS = 5
_POLL_SECONDS = 5.0
# How often a process looks whether the stream still keeps events for long enough.
_LOOK_SECONDS = 600.0
log = logging.getLogger(__name__)
_FAULTS = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError, asyncio.TimeoutError)


class NatsDriver:
    runs_listeners = False

    def __init__(self, url: Url) -> None:
        if not url.host:
            raise UrlError("an event bus in NATS needs a host: nats://host:4222")
        self._url = url
        self._group = read_group(url)
        self._stream = url.options.get("stream", "KPI_BUS")
        if not (self._stream.replace("_", "").isalnum() and self._stream.isascii()):
            raise UrlError("the stream of an event bus has letters, digits and underscores")
        self._subject = self._stream.lower()
        self._days = read_number(url, "keep_days", default=7, least=1, most=3650)
        self._timeout = read_number(url, "timeout", default=_DEFAULT_TIMEOUT, least=0.1, most=60)
        self._deliver: Deliver | None = None
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def open(self, deliver: Deliver) -> None:
        self._deliver = deliver

    async def close(self) -> None:
        self._deliver = None
        async with self._connecting:
            if self._client is not None:
                await self._client.close()
                self._client = None

    async def publish(self, name: str, payload: bytes, event_id: str) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                stream = (await self._share_client()).jetstream(timeout=self._timeout)
                await stream.publish(
                    f"{self._subject}.{name}", payload, stream=self._stream, headers={"Nats-Msg-Id": event_id}
                )
        except _FAULTS as error:
            raise EventsUnavailableError(f"NATS did not store the event ({type(error).__name__})") from None

    async def _share_client(self) -> Client:
        async with self._connecting:
            if self._deliver is None:
                raise NotOpenError("event bus")
            if self._client is None or self._client.is_closed:
                client = await self._connect()
                await self._ensure_stream(client.jetstream(timeout=self._timeout))
                self._client = client
            return self._client

    async def _connect(self) -> Client:
        url = self._url
        host = f"[{url.host}]" if ":" in url.host else url.host
        client = NatsClient(is_encrypted=url.scheme == "tls")
        try:
            # The library's own times are for each of its attempts.
            async with asyncio.timeout(self._timeout):
                await client.connect(
                    servers=[f"{url.scheme}://{host}:{url.port or _PORT}"],
                    user=url.username,
                    password=url.password,
                    tls=ssl.create_default_context() if url.scheme == "tls" else None,
                    name="kpi-events",
                    error_cb=client.keep_reason,
                    allow_reconnect=False,
                    # One attempt, and no pause after it.
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    ping_interval=_PING_SECONDS,
                    connect_timeout=max(1, int(self._timeout)),
                )
        except BaseException as error:
            await client.close()
            # That there is no server left to try says less.
            if client.reason is not None and isinstance(error, nats.errors.NoServersError):
                raise client.reason from None
            raise
        return client

    async def _ensure_stream(self, stream: JetStreamContext) -> None:
        """A stream that exists is used as it is, but keeps events for longer if a group says so."""
        try:
            await stream.stream_info(self._stream)
        except nats.js.errors.NotFoundError:
            age = self._days * 86400
            config = StreamConfig(name=self._stream, subjects=[f"{self._subject}.>"], max_age=age)
            try:
                await stream.add_stream(config)
            except nats.js.errors.APIError as error:
                # Another process was faster, perhaps with days of its own.
                try:
                    await stream.stream_info(self._stream)
                except nats.js.errors.NotFoundError:
                    raise error from None

    async def publish_in(self, _connection: object, _name: str, _payload: bytes) -> bool:
        return False

    async def subscribe(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                client = await self._connect()
                try:
                    await self._bind(client.jetstream(timeout=self._timeout))
                finally:
                    await client.close()
        except _FAULTS as error:
            raise EventsUnavailableError(f"NATS cannot be reached ({type(error).__name__})") from None

    async def receive(self) -> None:
        await repeat_despite_faults(self._receive, faults=_FAULTS, what="Events of NATS")

    async def _receive(self) -> None:
        client = await self._connect()
        try:
            stream = client.jetstream(timeout=self._timeout)
            consumer = await self._bind(stream)
            looked_at = -_LOOK_SECONDS
            while client.is_connected:
                if monotonic() - looked_at > _LOOK_SECONDS:
                    looked_at = monotonic()
                    await self._keep_for_own_days(stream)
                for message in await _fetch(consumer):
                    await self._handle(message)
            raise nats.errors.ConnectionClosedError
        finally:
            await client.close()

    async def _bind(self, stream: JetStreamContext) -> JetStreamContext.PullSubscription:
        await self._ensure_stream(stream)
        subject = f"{self._subject}.>"
        # A group begins with what is sent after its first start, as with PostgreSQL. nats-py writes into the object.
        config = ConsumerConfig(
            ack_policy=AckPolicy.EXPLICIT, ack_wait=_LEASE_SECONDS, deliver_policy=DeliverPolicy.NEW, max_deliver=-1
        )
        return await stream.pull_subscribe(subject, durable=self._group, stream=self._stream, config=config)

    async def _keep_for_own_days(self, stream: JetStreamContext) -> None:
        """The stream is one for all groups, so the longest time wins. 0 is for ever."""
        age = self._days * 86400
        try:
            # Again, as another process may have written its own, lower one in between.
            while 0 < ((config := (await stream.stream_info(self._stream)).config).max_age or 0) < age:
                await stream.update_stream(config, max_age=age)
        except _FAULTS as error:
            # An account may have no right to it.
            log.warning(
                "The stream of NATS keeps events for less than keep_days, and could not be changed (%s)",
                type(error).__name__,
            )

    async def _handle(self, message: Msg) -> None:
        assert self._deliver is not None  # noqa: S101 set by open
        name = message.subject.removeprefix(f"{self._subject}.")
        try:
            await run_with_renewals(
                self._deliver(name, message.data), renew=message.in_progress, every=_LEASE_SECONDS / 3
            )
        except asyncio.CancelledError:
            # This process stops: another one need not wait for the end of the lease.
            with suppress(*_FAULTS):
                await message.nak()
            raise
        await message.ack_sync(timeout=self._timeout)


async def _fetch(consumer: JetStreamContext.PullSubscription) -> list[Msg]:
    try:
        found: list[Msg] = await consumer.fetch(1, timeout=_POLL_SECONDS)
    except (TimeoutError, nats.errors.TimeoutError):
        return []
    return found


create_driver = NatsDriver
