"""Mails by SMTP."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import Any, cast

from aiosmtplib import SMTP, SMTPResponse
from aiosmtplib.errors import (
    SMTPAuthenticationError,
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
)

from kpi_kit.mail.composing import list_recipients
from kpi_kit.mail.contract import NO_HOOKS, SEND_SECONDS, Hooks, Letter
from kpi_kit.mail.errors import MailUnavailableError, NotSentError, PartlySentError, build_not_sent
from kpi_kit.mail.targets import Security, SmtpServer

_QUIT_SECONDS = 2.0
_PERMANENT = 500


class SmtpTransport:
    """Opens one connection for each mail, so that a mail cannot delay or break another."""

    def __init__(self, server: SmtpServer, *, seconds: float = SEND_SECONDS) -> None:
        self._server = server
        self._seconds = seconds
        # Loads the system's certificates (or those in SSL_CERT_FILE), which takes too long to do for each mail.
        self._context = ssl.create_default_context() if server.security is not Security.PLAIN else None

    async def send(self, letter: Letter, hooks: Hooks = NO_HOOKS) -> None:
        client = self._build_client(letter)
        client.message, client.begin_content = letter.message, hooks.begin_content
        try:
            # The library's timeout applies to each response: a server could send one after another without end.
            async with asyncio.timeout(self._seconds):
                await client.connect()
                refused, _ = await client.send_message(letter.message, recipients=list_recipients(letter))
            await hooks.accept()
            await _quit(client)
        except (SMTPException, OSError, TimeoutError) as error:
            raise self._to_not_sent_error(error) from None
        finally:
            # The client's context manager would wait for the response to QUIT, even from a server that hangs.
            client.close()
        if refused:
            raise PartlySentError({address: self._read_refusal(answer) for address, answer in refused.items()})

    async def close(self) -> None:
        """Nothing is open between two mails."""

    def _build_client(self, letter: Letter) -> "_Client":
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
            # The library's default is a look-up in DNS.
            local_hostname=letter.message["From"].addresses[0].domain,
        )

    def _read_refusal(self, answer: SMTPResponse | SMTPResponseException) -> NotSentError:
        return self._refuse(f"{answer.code} {answer.message}", is_final=answer.code >= _PERMANENT)

    def _to_not_sent_error(self, error: Exception) -> NotSentError:
        """Only a refusal of the recipient or the message is final; other failures can be fixed on either side."""
        if isinstance(error, SMTPRecipientsRefused):
            # Another attempt may reach those whose refusal is not permanent.
            return self._read_refusal(min(error.recipients, key=lambda refusal: refusal.code))
        if isinstance(error, SMTPAuthenticationError):
            # A server may quote what it was sent, in one of many encodings.
            return MailUnavailableError(f"{error.code} {type(error).__name__}")
        if isinstance(error, SMTPResponseException):
            is_final = isinstance(error, SMTPDataError) and error.code >= _PERMANENT
            return self._refuse(f"{error.code} {error.message}", is_final=is_final)
        if isinstance(error, SMTPNotSupported):
            # Of the extensions that are required, only that for non-ASCII addresses depends on the mail.
            return self._refuse(error.message, is_final="non-ASCII" in error.message)
        if isinstance(error, TimeoutError):
            return MailUnavailableError("the mail server did not respond in time")
        return self._refuse(f"{type(error).__name__}: {error}", is_final=False)

    def _refuse(self, reason: str, *, is_final: bool) -> NotSentError:
        password = self._server.password
        return build_not_sent(reason, is_final=is_final, secrets=(password,) if password else ())


class _Client(SMTP):
    message: EmailMessage
    begin_content: Callable[[], Awaitable[None]]

    async def sendmail(
        self,
        sender: str,
        recipients: str | Sequence[str],
        _message: str | bytes,
        /,
        *,
        mail_options: Iterable[str] | None = None,
        **options: Any,  # noqa: ANN401 the library's
    ) -> tuple[dict[str, SMTPResponse], str]:
        """With the message as its own policy writes it: that of the library drops the quotes of long names."""
        given = list(mail_options or ())
        policy = cast("EmailPolicy", self.message.policy).clone(
            linesep="\r\n",
            utf8="SMTPUTF8" in given,
            cte_type="8bit" if "BODY=8BITMIME" in given else "7bit",
        )
        content = self.message.as_bytes(policy=policy)
        return await super().sendmail(sender, recipients, content, mail_options=given, **options)

    async def data(self, message: str | bytes, /, **options: Any) -> SMTPResponse:  # noqa: ANN401 the library's
        await self.begin_content()
        return await super().data(message, **options)


async def _quit(client: SMTP) -> None:
    """Ignore errors: the server has accepted the mail, so it must not be sent again."""
    with suppress(SMTPException, OSError, TimeoutError):
        async with asyncio.timeout(_QUIT_SECONDS):
            await client.quit()


def create_driver(target: SmtpServer) -> SmtpTransport:
    return SmtpTransport(target)
