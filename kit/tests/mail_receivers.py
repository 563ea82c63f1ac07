"""Receivers of mails for the contract of the drivers: real servers, and stand-ins for the HTTP APIs of services."""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, message_from_string, policy
from email.message import EmailMessage
from email.utils import getaddresses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from kpi_kit.mail import Mailer, MailFake
from kpi_kit.mail.composing import list_recipients
from kpi_kit.mail.contract import Letter
from kpi_kit.mail.drivers.memory import MemoryTransport
from mail_servers import MailServer, serving
from moto.ses.models import ses_backends

SENDER = "Shop <shop@example.com>"
KEY = "SG.s3cret-Key.of_the_service"
ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Received:
    """A mail as it arrived. ``recipients`` is None where the driver does not keep who it went to."""

    raw: bytes
    recipients: set[str] | None
    # The stand-in for SendGrid writes header fields without encoding.
    is_text: bool = False

    @property
    def message(self) -> EmailMessage:
        if self.is_text:
            parsed = message_from_string(self.raw.decode(), policy=policy.default)
        else:
            parsed = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed


class Receiver:
    """``mailer`` is open and sends here; ``url`` is that of a second mailer to the same place."""

    def __init__(self, mailer: Mailer, url: str = "memory://") -> None:
        self.mailer = mailer
        self.url = url

    def read(self) -> list[Received]:
        raise NotImplementedError


@dataclass
class Api:
    """An HTTP service in a thread: what it was sent, and what it answers."""

    status: int = 202
    answer: str = ""
    url: str = ""
    calls: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def running_api() -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            api.calls.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            answer = api.answer.encode()
            self.send_response(api.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    api.url = f"127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class SmtpReceiver(Receiver):
    def __init__(self, server: MailServer, mailer: Mailer) -> None:
        super().__init__(mailer, server.url)
        self._server = server

    def read(self) -> list[Received]:
        # The server keeps the recipients of all mails in one list.
        return [Received(content, {*self._server.recipients}) for content in self._server.contents]


class SesReceiver(Receiver):
    def read(self) -> list[Received]:
        return [
            Received(mail.raw_data.encode(), {address for _, address in getaddresses(mail.destinations)})
            for mail in ses_backends[ACCOUNT]["us-east-1"].sent_messages
        ]


class MailgunReceiver(Receiver):
    def __init__(self, api: Api, mailer: Mailer, url: str) -> None:
        super().__init__(mailer, url)
        self._api = api

    def read(self) -> list[Received]:
        return [self._read(*call) for call in self._api.calls]

    def _read(self, path: str, headers: dict[str, str], body: bytes) -> Received:
        assert path == "/v3/mg.example.com/messages.mime"
        assert base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode() == f"api:{KEY}"
        whole = b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + body
        recipients, raw = set(), b""
        # Not the parser's parts: it would parse the message within.
        boundary = b"--" + headers["content-type"].partition("boundary=")[2].encode()
        for part in whole.split(boundary)[1:-1]:
            about, _, content = part.partition(b"\r\n\r\n")
            if b'name="message"' in about:
                raw = content.removesuffix(b"\r\n")
            else:
                assert b'name="to"' in about
                recipients.add(content.removesuffix(b"\r\n").decode())
        return Received(raw, recipients)


class SendGridReceiver(Receiver):
    def __init__(self, api: Api, mailer: Mailer, url: str) -> None:
        super().__init__(mailer, url)
        self._api = api

    def read(self) -> list[Received]:
        return [self._read(*call) for call in self._api.calls]

    def _read(self, path: str, headers: dict[str, str], body: bytes) -> Received:
        assert (path, headers["authorization"]) == ("/v3/mail/send", f"Bearer {KEY}")
        parts = json.loads(body)
        (envelope,) = parts["personalizations"]
        everyone = [one["email"] for kind in ("to", "cc", "bcc") for one in envelope.get(kind, [])]
        # What the real service refuses.
        assert len(everyone) == len(set(everyone))
        assert envelope["to"]
        assert all(one["value"] for one in parts["content"])
        assert not {"to", "from", "subject", "cc", "bcc", "reply-to", "content-type"} & {
            name.lower() for name in parts["headers"]
        }
        return Received(compose_carelessly(parts, envelope), set(everyone), is_text=True)


def compose_carelessly(parts: dict[str, Any], envelope: dict[str, Any]) -> bytes:
    """As a service that believes what it gets: a line break in a value begins another header field."""

    def show(addresses: list[dict[str, str]]) -> str:
        names = [(one.get("name", ""), one["email"]) for one in addresses]
        return ", ".join(
            f"{name if name.startswith(chr(34)) or not name else f'{chr(34)}{name}{chr(34)}'} <{email}>"
            for name, email in names
        )

    fields = {
        "From": show([parts["from"]]),
        "To": show(envelope["to"]),
        "Subject": parts["subject"],
        **parts["headers"],
    }
    for name, addresses in {"Cc": envelope.get("cc"), "Reply-To": parts.get("reply_to_list")}.items():
        if addresses:
            fields[name] = show(addresses)
    lines = [f"{name}: {value}" for name, value in fields.items()]
    mixed = ["MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="b1"', "", "--b1"]
    bodies = ['Content-Type: multipart/alternative; boundary="b2"', ""]
    for one in parts["content"]:
        encoded = base64.b64encode(one["value"].encode()).decode()
        bodies += [
            "--b2",
            f"Content-Type: {one['type']}; charset=utf-8",
            "Content-Transfer-Encoding: base64",
            "",
            encoded,
        ]
    files = []
    for one in parts.get("attachments", []):
        about = f'Content-Disposition: attachment; filename="{one["filename"]}"'
        kind = f"Content-Type: {one['type']}"
        files += ["--b1", kind, about, "Content-Transfer-Encoding: base64", "", one["content"]]
    return "\r\n".join([*lines, *mixed, *bodies, "--b2--", "", *files, "--b1--", ""]).encode()


class FileReceiver(Receiver):
    def __init__(self, folder: Path, mailer: Mailer) -> None:
        super().__init__(mailer, folder.as_uri())
        self._folder = folder

    def read(self) -> list[Received]:
        return [Received(path.read_bytes(), None) for path in sorted(self._folder.iterdir())]


class LetterReceiver(Receiver):
    def list_letters(self) -> list[Letter]:
        if isinstance(self.mailer, MailFake):
            return [mail.letter for mail in self.mailer.sent]
        transports = self.mailer._pool.transports.values()
        return [letter for one in transports if isinstance(one, MemoryTransport) for letter in one.letters]

    def read(self) -> list[Received]:
        return [Received(one.message.as_bytes(), {*list_recipients(one)}) for one in self.list_letters()]


@asynccontextmanager
async def receiving(kind: str, *, aws: str, folder: Path, templates: Path) -> AsyncIterator[Receiver]:
    """A mailer with this driver, open, and what receives its mails."""
    options: dict[str, Any] = {"sender": SENDER, "templates": templates}
    if kind == "fake":
        async with MailFake(named=["other"], **options) as fake:
            yield LetterReceiver(fake)
    elif kind == "smtp":
        async with serving(MailServer(), enable_SMTPUTF8=True) as server, _open(server.url, options) as mailer:
            yield SmtpReceiver(server, mailer)
    elif kind == "ses":
        backend = ses_backends[ACCOUNT]["us-east-1"]
        backend.email_identities.clear()
        backend.create_email_identity_v2("example.com", None, None, None)
        backend.sent_messages.clear()
        url = f"ses://testing:testing@us-east-1?endpoint={aws}"
        async with _open(url, options) as mailer:
            yield SesReceiver(mailer, url)
    elif kind in {"sendgrid", "mailgun"}:
        with running_api() as api:
            url = f"{kind}://:{KEY}@{api.url}{'/mg.example.com' if kind == 'mailgun' else ''}"
            async with _open(url, options) as mailer:
                yield {"sendgrid": SendGridReceiver, "mailgun": MailgunReceiver}[kind](api, mailer, url)
    elif kind == "file":
        async with _open(folder.as_uri(), options) as mailer:
            yield FileReceiver(folder, mailer)
    else:
        async with _open("memory://", options) as mailer:
            yield LetterReceiver(mailer)


def _open(url: str, options: dict[str, Any]) -> Mailer:
    return Mailer.from_url(url, named={"other": url}, **options)


async def until_read(receiver: Receiver, count: int) -> list[Received]:
    """A server may keep a mail shortly after it has accepted it."""
    async with asyncio.timeout(30):
        while len(found := receiver.read()) < count:  # noqa: ASYNC110 moto's and the stand-ins' threads
            await asyncio.sleep(0.01)
    return found
