"""NATS JetStream as an outlet: each event becomes a message of one stream.

A channel is one connection, and ends with it. The library's own reconnection would send what was in flight again, and
not say what was stored in between; here the worker begins anew after the last event that was acknowledged. Each message
names the place in the stream that it must get, so that the server refuses what is behind a message that was lost, and
what a process sends whose lease has passed to another. If others write to the stream, places shift, and a message can
be refused while those behind it are stored: so only events of different accounts are under way at once.
"""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import nats.errors
import nats.js.errors
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kpi_kit.nats_client import NatsClient
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, Header, PubAck, RetentionPolicy, StorageType, StreamConfig

from kpi_auth.outlets.channels import Acknowledged, Channel, OutletError
from kpi_auth.outlets.models import OutgoingEvent
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.nats_urls import NatsCredentials, NatsServers, nats_credentials, nats_servers

# How many messages wait for their acknowledgements at once.
WINDOW = 256
_OPEN_SECONDS = 5.0
_CONNECT_SECONDS = 2
_ACK_SECONDS = 5.0
_CLOSE_SECONDS = 1.0
# A connection that has become silent is found after three of these, or by the next event.
_PING_SECONDS = 5
# Longer than it takes to restart a server or to move a lease, so that what is sent again then is recognised.
_DUPLICATE_SECONDS = 600.0
_MAX_BYTES = 1024**3
_DAY = 86400.0
_WRONG_LAST_SEQUENCE = 10071
_NO_JETSTREAM = (nats.js.errors.ServiceUnavailableError, nats.js.errors.NoStreamResponseError)
_REASONS = (
    (_NO_JETSTREAM, "JetStream does not answer: is it on, and does the stream have the subject?"),
    ((TimeoutError,), "no answer in time"),
    ((asyncio.CancelledError,), "the connection was lost"),
)

_Result = TypeVar("_Result")


class NatsStream(NamedTuple):
    name: str
    # The first words of each subject; the type of the event follows.
    subject: str
    keep_days: float

    def config(self) -> StreamConfig:
        """A stream as it is created where there is none; one that is there is used as it is."""
        return StreamConfig(
            name=self.name,
            description="Events of accounts, sessions and keys",
            subjects=[f"{self.subject}.>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_age=self.keep_days * _DAY,
            max_bytes=_MAX_BYTES,
            duplicate_window=_DUPLICATE_SECONDS,
        )


class _Client(NatsClient):
    """Its sends end with the connection: the library would leave them waiting."""

    def __init__(self, *, is_encrypted: bool) -> None:
        super().__init__(is_encrypted=is_encrypted)
        self.under_way: Sequence[asyncio.Task[PubAck]] = ()

    def end_sends(self) -> None:
        for task in self.under_way:
            task.cancel()

    async def lose(self) -> None:
        self.end_sends()


class NatsTransport:
    def __init__(self, servers: NatsServers, stream: NatsStream, credentials: NatsCredentials | None = None) -> None:
        self._servers = servers
        self._stream = stream
        self._credentials = credentials
        # Loads the system's certificates (or those in SSL_CERT_FILE), once.
        self._tls = ssl.create_default_context()

    @classmethod
    def of(cls, settings: AuthSettings, url: str) -> "NatsTransport":
        stream = NatsStream(settings.events_nats_stream, settings.events_nats_subject, settings.events_keep_days)
        content = settings.events_nats_credentials
        credentials = nats_credentials(content.get_secret_value()) if content is not None else None
        return cls(nats_servers(url), stream, credentials)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Channel]:
        client = _Client(is_encrypted=self._servers.is_encrypted)
        try:
            yield await self._begin(client)
        finally:
            # A server that has become silent must not hold this up.
            with suppress(Exception):
                await _run_apart(client.close(), seconds=_CLOSE_SECONDS)

    async def _begin(self, client: _Client) -> "NatsChannel":
        try:
            last = await _run_apart(self._connect(client), seconds=_OPEN_SECONDS)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            # Of a refusal, the client's own reason is better than the timeout or the lack of servers that follows it.
            raise OutletError(describe(client.reason or error)) from error
        return NatsChannel(client, self._stream, last=last)

    async def _connect(self, client: _Client) -> int:
        """Returns the newest place of the stream."""
        await client.connect(
            servers=list(self._servers.urls),
            name="kpi-auth",
            error_cb=client.keep_reason,
            closed_cb=client.lose,
            allow_reconnect=False,
            # Each address twice at most.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=_CONNECT_SECONDS,
            ping_interval=_PING_SECONDS,
            tls=self._tls,
            **self._identity(),
        )
        # That an address before this one did not respond explains nothing that follows.
        client.reason = None
        return await self._get_last(client)

    def _identity(self) -> dict[str, Any]:
        credentials = self._credentials
        if credentials is None:
            return {"user": self._servers.user, "password": self._servers.password, "token": self._servers.token}
        key = Ed25519PrivateKey.from_private_bytes(credentials.seed)
        return {
            "user_jwt_cb": credentials.jwt.encode,
            "signature_cb": lambda nonce: base64.b64encode(key.sign(nonce.encode())),
        }

    async def _get_last(self, client: Client) -> int:
        """The newest place of the stream, which is created if it is missing."""
        stream = client.jetstream(timeout=_CONNECT_SECONDS)
        try:
            info = await stream.stream_info(self._stream.name)
        except nats.js.errors.NotFoundError:
            info = await stream.add_stream(self._stream.config())
        return info.state.last_seq


class NatsChannel:
    def __init__(self, client: _Client, stream: NatsStream, *, last: int) -> None:
        self._client = client
        self._jetstream: JetStreamContext = client.jetstream(timeout=_ACK_SECONDS)
        self._stream = stream
        self._last = last
        # What an earlier connection has sent may be stored already and takes no place now: the places of what follows
        # are unknown until a message is new.
        self._window = 1

    async def deliver(self, events: Sequence[OutgoingEvent]) -> Acknowledged:
        """Return soon after ``_ACK_SECONDS`` at the latest, and after a failure at once."""
        count = 0
        end = asyncio.get_running_loop().time() + _ACK_SECONDS
        while count < len(events) and asyncio.get_running_loop().time() < end:
            acks = await self._publish(_at_once(events[count : count + self._window]))
            for ack in acks:
                if isinstance(ack, BaseException):
                    if self._is_behind_duplicate(acks):
                        break
                    return Acknowledged(count, describe(self._client.reason or ack))
                count += 1
                self._advance(ack)
        return Acknowledged(count)

    def _advance(self, ack: PubAck) -> None:
        if not ack.duplicate:
            self._last = ack.seq
        self._window = 1 if ack.duplicate else WINDOW

    def _is_behind_duplicate(self, acks: Sequence[object]) -> bool:
        """Was the place that a message named wrong only because the one before it took none? It is sent again alone."""
        return self._window == 1 and len(acks) > 1

    async def _publish(self, events: Sequence[OutgoingEvent]) -> list[PubAck | BaseException]:
        """The acknowledgements in order, or what came instead of each."""
        sends = [asyncio.create_task(self._send(event, after=self._last + n)) for n, event in enumerate(events)]
        self._client.under_way = sends
        try:
            # Not gather(), which would wait for those that do not end when they are cancelled.
            await asyncio.wait(sends)
        finally:
            self._client.end_sends()
        return [_result(send) for send in sends]

    async def _send(self, event: OutgoingEvent, *, after: int) -> PubAck:
        headers = {
            Header.MSG_ID: f"event-{event.seq}",
            Header.EXPECTED_STREAM: self._stream.name,
            Header.EXPECTED_LAST_SEQUENCE: str(after),
            "Kpi-Event-Type": event.type,
            "Kpi-Schema-Version": str(event.schema_version),
        }
        return await self._jetstream.publish(f"{self._stream.subject}.{event.type}", event.body, headers=headers)


def _at_once(events: Sequence[OutgoingEvent]) -> Sequence[OutgoingEvent]:
    """The first of the events, up to the second one of an account."""
    accounts: set[int | None] = set()
    for count, event in enumerate(events):
        if event.account_id in accounts:
            return events[:count]
        accounts.add(event.account_id)
    return events


def _result(task: "asyncio.Task[PubAck]") -> PubAck | BaseException:
    return asyncio.CancelledError() if task.cancelled() else task.exception() or task.result()


async def _run_apart(work: Coroutine[Any, Any, _Result], *, seconds: float) -> _Result:
    """Run what calls the library in a task of its own, since the library may swallow the cancellation of its caller."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()
        # So that the error of a task that was left is no warning.
        task.add_done_callback(lambda left: left.cancelled() or left.exception())


def describe(error: BaseException) -> str:
    """A reason for the operator, which quotes no credentials."""
    known = next((text for kinds, text in _REASONS if isinstance(error, kinds)), None)
    if known is not None:
        return known
    if isinstance(error, nats.js.errors.APIError):
        is_other = error.err_code == _WRONG_LAST_SEQUENCE
        text = "something else has written to the stream" if is_other else error.description or ""
    elif isinstance(error, ssl.SSLCertVerificationError):
        text = f"the server's certificate: {error.verify_message}"
    else:
        text = str(error).removeprefix("nats: ").strip(" '")
    return text or type(error).__name__
