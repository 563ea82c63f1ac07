"""Mails by Amazon SES, as complete messages."""

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from kpi_kit.daemons import run_in_daemon
from kpi_kit.mail.composing import list_recipients
from kpi_kit.mail.contract import NO_HOOKS, SEND_SECONDS, Hooks, Letter
from kpi_kit.mail.errors import MailUnavailableError, NotSentError, build_not_sent
from kpi_kit.mail.targets import SesAccount

if TYPE_CHECKING:
    from types_boto3_sesv2 import SESV2Client

_FINAL = frozenset({"BadRequestException", "InvalidParameterValue", "MessageRejected"})
_CONNECT_SECONDS = 10.0


class SesTransport:
    """boto3 blocks, so each mail takes a thread, of ``threads`` at once; a mail that has none waits within its seconds.

    boto3's timeouts apply to each read, so a response without end would hold a thread for as long. The threads are
    daemons, and not of an executor, which would wait for such a thread when the process ends.
    """

    def __init__(self, account: SesAccount, *, seconds: float = SEND_SECONDS, threads: int = 8) -> None:
        self._account = account
        self._seconds = seconds
        self._threads = threads
        self._free = asyncio.Semaphore(threads)
        self._building = threading.Lock()
        self._client: SESV2Client | None = None

    async def send(self, letter: Letter, hooks: Hooks = NO_HOOKS) -> None:
        await hooks.begin_content()
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
                await asyncio.shield(self._start(letter))
        except (ClientError, BotoCoreError, TimeoutError) as error:
            raise self._to_not_sent_error(error) from None
        await hooks.accept()

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _start(self, letter: Letter) -> asyncio.Future[None]:
        """Send it in a thread, which lets the next mail begin at its end, even if this one is no longer waited for."""
        try:
            sent = run_in_daemon(partial(self._send, letter), name="kpi-mail-ses")
        except BaseException:
            self._free.release()
            raise
        sent.add_done_callback(self._end)
        return sent

    def _end(self, sent: asyncio.Future[None]) -> None:
        self._free.release()
        # The exception is read also where its mail was given up: else the loop reports one that was not looked at.
        sent.exception()

    def _send(self, letter: Letter) -> None:
        # Without a name of its own, the account's default set applies; the API takes no empty name.
        names: Any = (
            {"ConfigurationSetName": self._account.configuration_set} if self._account.configuration_set else {}
        )
        self._open().send_email(
            # Those who the mail goes to; the fields of the message stay as they are.
            Destination={"ToAddresses": list_recipients(letter)},
            Content={"Raw": {"Data": letter.message.as_bytes()}},
            **names,
        )

    def _open(self) -> "SESV2Client":
        """Reads large files and may ask the machine for its role, so it happens in a thread, and once."""
        with self._building:
            if self._client is None:
                self._client = self._build_client()
            return self._client

    def _build_client(self) -> "SESV2Client":
        account = self._account
        # The caller counts attempts: one that the library makes by itself could send a mail twice without a word.
        config = Config(
            connect_timeout=min(_CONNECT_SECONDS, self._seconds),
            read_timeout=self._seconds,
            retries={"total_max_attempts": 1},
            max_pool_connections=self._threads,
        )
        session = boto3.Session(
            aws_access_key_id=account.key_id, aws_secret_access_key=account.key, region_name=account.region
        )
        return session.client("sesv2", endpoint_url=account.endpoint, config=config)

    def _to_not_sent_error(self, error: Exception) -> NotSentError:
        if isinstance(error, ClientError):
            code, text = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
            # An address that is not verified yet is a matter of the account.
            is_final = code in _FINAL and "not verified" not in text
            # The longest codes would be hidden as words that may be secrets.
            reason = f"{code.removesuffix('Exception')}: {text}"
            return build_not_sent(reason, is_final=is_final, secrets=tuple(filter(None, [self._account.key])))
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return MailUnavailableError("the mail service did not respond in time")
        return MailUnavailableError(type(error).__name__)


def create_driver(target: SesAccount) -> SesTransport:
    return SesTransport(target)
