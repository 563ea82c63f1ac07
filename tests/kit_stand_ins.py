"""What the example of docs/kit.md speaks to: a carrier and a mail server, each in a thread of its own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from kpi_shared.testing.process import free_port, wait_until


@dataclass
class Carrier:
    """Each request with the path and the header fields that it had."""

    url: str = ""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def run_carrier(cents: int) -> Iterator[Carrier]:
    carrier = Carrier()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            carrier.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            body = json.dumps({"cents": cents}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        carrier.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield carrier
        finally:
            server.shutdown()
            thread.join()


@dataclass
class MailServer:
    url: str = ""
    mails: list[EmailMessage] = field(default_factory=list)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 the library's
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        return "250 OK"

    def find(self, address: str, subject: str, text: str) -> list[str]:
        """What the mails with this subject to the address say, of those that say ``text``."""
        chosen = [mail for mail in self.mails if (str(mail["To"]), str(mail["Subject"])) == (address, subject)]
        return [content for mail in chosen if text in (content := str(mail.get_content()).strip())]

    def wait_for(self, address: str, subject: str, text: str) -> str:
        """The text of the first such mail."""
        wait_until(lambda: bool(self.find(address, subject, text)))
        return self.find(address, subject, text)[0]


@contextmanager
def run_mail_server() -> Iterator[MailServer]:
    server = MailServer()
    controller = Controller(server, hostname="127.0.0.1", port=free_port())
    controller.start()
    server.url = f"smtp://127.0.0.1:{controller.port}"
    try:
        yield server
    finally:
        controller.stop()
