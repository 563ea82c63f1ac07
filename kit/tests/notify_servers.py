"""A service of others on loopback, which a test controls, and a notification to send to it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from kpi_kit.notify import Notification, Recipient, TextContent


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.line.split()[1]


@dataclass
class Service:
    """Responds to each request with ``status``, or not at all while it ``hangs``."""

    status: str = "200 OK"
    body: bytes = b"ok"
    headers: Sequence[str] = ()
    hangs: bool = False
    # Whether the client waits for a body that was announced.
    keeps_body: bool = False
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    accepted: list[Request] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read(reader)
            self.requests.append(request)
            if self.hangs:
                # Until the client gives up.
                await reader.read()
                return
            if self.status.startswith("2"):
                self.accepted.append(request)
            head = [f"HTTP/1.1 {self.status}", f"Content-Length: {len(self.body)}", "Connection: close", *self.headers]
            writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + (b"" if self.keeps_body else self.body))
            await writer.drain()
            if self.keeps_body:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *fields = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in fields)}
    return Request(line, headers, await reader.readexactly(int(headers.get("content-length", 0))))


@asynccontextmanager
async def run_service() -> AsyncIterator[Service]:
    service = Service()
    server = await asyncio.start_server(service.answer, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()
        server.close_clients() if hasattr(server, "close_clients") else None


class InvoicePaid(Notification):
    """Through all channels that are named in ``channels``."""

    number: int
    channels: list[str]

    def via(self, _recipient: Recipient) -> list[str]:
        return self.channels

    def to_text(self, _recipient: Recipient) -> TextContent:
        return TextContent(title="Thank you", text=f"Invoice {self.number} is paid")


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def log_everything(caplog: pytest.LogCaptureFixture) -> None:
    """Also what a service that was tested in this process has switched off."""
    caplog.set_level(logging.DEBUG)
    for name in ("apprise", "httpcore", "httpcore.connection", "httpcore.http11", "httpx", "urllib3"):
        caplog.set_level(logging.DEBUG, logger=name)
