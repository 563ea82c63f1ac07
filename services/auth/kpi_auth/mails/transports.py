"""How a mail leaves: to an SMTP server, or into a folder."""

import asyncio
import os
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol

import structlog
from aiosmtplib import SMTP
from aiosmtplib.errors import (
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
)

from kpi_auth.settings.mail_addresses import Folder, Security, SmtpServer

log = structlog.get_logger(__name__)

# All of one mail, from the connection's first moment to the server's word that it has it.
SEND_SECONDS = 45.0
_GOODBYE_SECONDS = 2.0
_PERMANENT = 500
_MAX_REASON = 300
# A server that refuses a mail for what stands in it may quote a link, and in it a code.
_LONG_WORD = re.compile(r"[\w-]{24,}", re.ASCII)


@dataclass(frozen=True)
class Letter:
    """A mail as it is sent, and by what it is known in the outbox."""

    mail_id: int
    template: str
    created_at: datetime
    message: EmailMessage


class NotSentError(Exception):
    """``reason`` is for admins; a final one would be the same the next time."""

    def __init__(self, reason: str, *, is_final: bool) -> None:
        words = "".join(character if character.isprintable() else " " for character in reason)
        self.reason = _LONG_WORD.sub("[...]", words)[:_MAX_REASON]
        self.is_final = is_final
        super().__init__(self.reason)


class Transport(Protocol):
    async def send(self, letter: Letter) -> None:
        """Return when somebody else answers for the mail; raise NotSentError otherwise."""


def transport_to(target: Folder | SmtpServer, *, local_hostname: str) -> Transport:
    if isinstance(target, Folder):
        return FolderTransport(target.path)
    return SmtpTransport(target, local_hostname=local_hostname)


class SmtpTransport:
    """One connection for each mail, so that no two get into each other's way."""

    def __init__(self, server: SmtpServer, *, local_hostname: str, seconds: float = SEND_SECONDS) -> None:
        self._server = server
        self._local_hostname = local_hostname
        self._seconds = seconds
        # Loads the system's certificates, which takes too long to do for each mail. SSL_CERT_FILE names others.
        self._context = ssl.create_default_context() if server.security is not Security.PLAIN else None

    async def send(self, letter: Letter) -> None:
        client = self._client()
        try:
            # The library's own limit is for each answer alone: a server could drip one after the other for ever.
            async with asyncio.timeout(self._seconds):
                await client.connect()
                await client.send_message(letter.message)
            await _quit(client)
        except (SMTPException, OSError, TimeoutError) as error:
            raise _to_not_sent_error(error) from error
        finally:
            # Its context manager would wait for an answer to QUIT, also from a server that hangs.
            client.close()

    def _client(self) -> SMTP:
        server = self._server
        return SMTP(
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


async def _quit(client: SMTP) -> None:
    """The server has the mail: whatever happens now, it must not be sent again."""
    with suppress(SMTPException, OSError, TimeoutError):
        async with asyncio.timeout(_GOODBYE_SECONDS):
            await client.quit()


def _to_not_sent_error(error: Exception) -> NotSentError:
    """Only the recipient and the message can be refused for good: all else may be mended on either side."""
    if isinstance(error, SMTPRecipientsRefused):
        refusal = error.recipients[0]
        return NotSentError(f"{refusal.code} {refusal.message}", is_final=refusal.code >= _PERMANENT)
    if isinstance(error, SMTPResponseException):
        is_final = isinstance(error, SMTPDataError) and error.code >= _PERMANENT
        return NotSentError(f"{error.code} {error.message}", is_final=is_final)
    if isinstance(error, SMTPNotSupported):
        # Of all that is asked for, only an address outside ASCII is the mail's own.
        return NotSentError(error.message, is_final="non-ASCII" in error.message)
    if isinstance(error, TimeoutError):
        return NotSentError("the mail server did not answer in time", is_final=False)
    return NotSentError(f"{type(error).__name__}: {error}", is_final=False)


class FolderTransport:
    """Writes each mail to a file that mail programs open; the same mail always to the same file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, letter: Letter) -> None:
        path = self._folder / f"{letter.created_at:%Y%m%dT%H%M%S}-{letter.template}-{letter.mail_id}.eml"
        try:
            await asyncio.to_thread(_write, path, letter.message.as_bytes(policy=policy.default))
        except OSError as error:
            raise NotSentError(f"{self._folder}: {error.strerror or error}", is_final=False) from error
        log.info("mail written", path=str(path), template=letter.template)


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing, and for its owner's eyes only: it may hold a link that opens an account."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)
