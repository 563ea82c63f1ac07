"""The transports of mails: an SMTP server, or a folder."""

import asyncio
import os
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol

import structlog
from aiosmtplib import SMTP, SMTPResponse
from aiosmtplib.errors import (
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
)

from kpi_auth.settings.mail_urls import Folder, Security, SmtpServer

log = structlog.get_logger(__name__)

# For one mail in all, from connecting until the server has accepted it.
SEND_SECONDS = 45.0
_QUIT_SECONDS = 2.0
_PERMANENT = 500
_MAX_REASON = 300
# A server that refuses a mail for its content may quote a link that contains a code.
_LONG_WORD = re.compile(r"[\w-]{24,}", re.ASCII)


@dataclass(frozen=True)
class Letter:
    """A rendered mail, and what identifies it in the outbox."""

    mail_id: int
    template: str
    created_at: datetime
    message: EmailMessage


class NotSentError(Exception):
    """``reason`` is for admins; ``is_final`` means that another attempt would fail in the same way."""

    def __init__(self, reason: str, *, is_final: bool) -> None:
        words = "".join(character if character.isprintable() else " " for character in reason)
        self.reason = _LONG_WORD.sub("[...]", words)[:_MAX_REASON]
        self.is_final = is_final
        super().__init__(self.reason)


class Hooks(Protocol):
    """What is done about a mail while a transport sends it."""

    async def begin_content(self) -> None:
        """Called before the content is sent; raises NotSentError if it must not be."""

    async def accept(self) -> None:
        """Called as soon as the receiver has accepted the mail."""


class _NoHooks:
    async def begin_content(self) -> None:
        pass

    async def accept(self) -> None:
        pass


NO_HOOKS = _NoHooks()


class Transport(Protocol):
    async def send(self, letter: Letter, hooks: Hooks = NO_HOOKS) -> None:
        """Return once the receiver has accepted responsibility for the mail; raise NotSentError otherwise."""


def build_transport(target: Folder | SmtpServer, *, local_hostname: str) -> Transport:
    if isinstance(target, Folder):
        return FolderTransport(target.path)
    return SmtpTransport(target, local_hostname=local_hostname)


class SmtpTransport:
    """Opens one connection for each mail, so that a mail cannot delay or break another."""

    def __init__(self, server: SmtpServer, *, local_hostname: str, seconds: float = SEND_SECONDS) -> None:
        self._server = server
        self._local_hostname = local_hostname
        self._seconds = seconds
        # Loads the system's certificates (or those in SSL_CERT_FILE), which takes too long to do for each mail.
        self._context = ssl.create_default_context() if server.security is not Security.PLAIN else None

    async def send(self, letter: Letter, hooks: Hooks = NO_HOOKS) -> None:
        client = self._build_client()
        client.begin_content = hooks.begin_content
        try:
            # The library's timeout applies to each response: a server could send one after another without end.
            async with asyncio.timeout(self._seconds):
                await client.connect()
                await client.send_message(letter.message)
            await hooks.accept()
            await _quit(client)
        except (SMTPException, OSError, TimeoutError) as error:
            raise _to_not_sent_error(error) from error
        finally:
            # The client's context manager would wait for the response to QUIT, even from a server that hangs.
            client.close()

    def _build_client(self) -> "_Client":
        server = self._server
        return _Client(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.security is Security.TLS,
            start_tls=server.security is Security.STARTTLS,
            tls_context=self._context,
            timeout=self._seconds,
            local_hostname=self._local_hostname,
        )


class _Client(SMTP):
    begin_content: Callable[[], Awaitable[None]]

    async def data(self, message: str | bytes, /, **options: Any) -> SMTPResponse:  # noqa: ANN401 the library's
        await self.begin_content()
        return await super().data(message, **options)


async def _quit(client: SMTP) -> None:
    """Ignore errors: the server has accepted the mail, so it must not be sent again."""
    with suppress(SMTPException, OSError, TimeoutError):
        async with asyncio.timeout(_QUIT_SECONDS):
            await client.quit()


def _to_not_sent_error(error: Exception) -> NotSentError:
    """Only a refusal of the recipient or the message is final; other failures can be fixed on either side."""
    if isinstance(error, SMTPRecipientsRefused):
        refusal = error.recipients[0]
        return NotSentError(f"{refusal.code} {refusal.message}", is_final=refusal.code >= _PERMANENT)
    if isinstance(error, SMTPResponseException):
        is_final = isinstance(error, SMTPDataError) and error.code >= _PERMANENT
        return NotSentError(f"{error.code} {error.message}", is_final=is_final)
    if isinstance(error, SMTPNotSupported):
        # Of the extensions that are required, only that for non-ASCII addresses depends on the mail.
        return NotSentError(error.message, is_final="non-ASCII" in error.message)
    if isinstance(error, TimeoutError):
        return NotSentError("the mail server did not respond in time", is_final=False)
    return NotSentError(f"{type(error).__name__}: {error}", is_final=False)


class FolderTransport:
    """Writes each mail to a file that mail programs can open; the same mail always to the same file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, letter: Letter, hooks: Hooks = NO_HOOKS) -> None:
        await hooks.begin_content()
        path = self._folder / f"{letter.created_at:%Y%m%dT%H%M%S}-{letter.template}-{letter.mail_id}.eml"
        try:
            await asyncio.to_thread(_write, path, letter.message.as_bytes(policy=policy.default))
        except OSError as error:
            raise NotSentError(f"{self._folder}: {error.strerror or error}", is_final=False) from error
        log.info("mail written", path=str(path), template=letter.template)
        await hooks.accept()


def _write(path: Path, content: bytes) -> None:
    """Write atomically, readable by the owner only: the mail may contain a link that gives access to an account."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)
