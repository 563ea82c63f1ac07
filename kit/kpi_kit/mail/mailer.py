"""The mailer that users of the library hold."""

import copy
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from kpi_kit.ciphers import Cipher
from kpi_kit.drivers import Driver
from kpi_kit.errors import AlreadyOpenError, NotOpenError
from kpi_kit.mail.contract import Letter, Transport
from kpi_kit.mail.drafting import Writer
from kpi_kit.mail.errors import MailError, PartlySentError
from kpi_kit.mail.jobs import SendMail, pack_letter, unpack_letter
from kpi_kit.mail.message import Message
from kpi_kit.mail.targets import Target
from kpi_kit.mail.urls import read_target
from kpi_kit.observing import Observer, observe
from kpi_kit.queue.jobs import Run
from kpi_kit.queue.queue import Queue

log = logging.getLogger(__name__)

_DEFAULT = "default"


@dataclass(frozen=True)
class Choice:
    """A driver and its target; ``name`` is the one under which a job finds it again, None if it was chosen by URL."""

    name: str | None
    driver: Driver
    target: Target

    @classmethod
    def of(cls, url: str | SecretStr, name: str | None = None) -> "Choice":
        """UrlError for an unknown form, MissingExtraError if the driver's package is not installed."""
        driver, target = read_target(url)
        driver.load()
        return cls(name, driver, target)


@dataclass
class Pool:
    """The transports that a mailer and the mailers made of it by ``via`` share; each is built when it is first used."""

    is_open: bool = False
    transports: dict[tuple[str | None, str, Target], Transport] = field(default_factory=dict)

    def get(self, choice: Choice) -> Transport:
        if not self.is_open:
            raise NotOpenError("mailer")
        key = (choice.name, choice.driver.name, choice.target)
        if key not in self.transports:
            self.transports[key] = self.build(choice)
        return self.transports[key]

    def build(self, choice: Choice) -> Transport:
        transport: Transport = choice.driver.load().create_driver(choice.target)
        return transport

    async def close(self) -> None:
        self.is_open = False
        transports, self.transports = list(self.transports.values()), {}
        async with AsyncExitStack() as stack:
            for transport in transports:
                stack.push_async_callback(transport.close)


class Mailer:
    """Sends messages now, or enqueues them in the caller's transaction. Use it as an async context manager."""

    def __init__(
        self,
        choices: Mapping[str, Choice],
        writer: Writer,
        *,
        observer: Observer | None = None,
        pool: Pool | None = None,
    ) -> None:
        self._choices = dict(choices)
        self._choice = self._choices[_DEFAULT]
        self._writer = writer
        self._observer = observer
        self._pool = pool or Pool()
        self._queue: Queue | None = None
        self._cipher: Cipher | None = None

    @classmethod
    def from_url(
        cls,
        url: str | SecretStr,
        *,
        sender: str | None = None,
        named: Mapping[str, str | SecretStr] | None = None,
        templates: Path | str | None = None,
        observer: Observer | None = None,
    ) -> Self:
        """A mailer with the driver of ``url``, and more drivers by name.

        ``sender`` is in From unless a message has its own: ``KPI-One <no-reply@example.com>``. ``templates`` is a
        folder (``./mails``), or the name of a package with a folder ``templates``. UrlError, MissingExtraError, or
        MailSettingsError for the sender or the templates.
        """
        choices = {name: Choice.of(one, name) for name, one in {**(named or {}), _DEFAULT: url}.items()}
        return cls(choices, Writer.build(sender, templates), observer=observer)

    async def __aenter__(self) -> Self:
        if self._pool.is_open:
            raise AlreadyOpenError("mailer")
        self._pool.is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.close()

    def use_queue(self, queue: Queue, *, cipher: Cipher | None = None) -> None:
        """Let ``enqueue`` push to this queue, and the queue's workers send with this mailer: before either is opened.

        ``cipher``, a ``Crypt``, encrypts the mails that wait, since they may hold secrets.
        """
        self._queue, self._cipher = queue, cipher
        queue.handle(SendMail, self._run)

    def via(self, driver: str | SecretStr) -> Self:
        """The same mailer with another driver: by the name it was given, or by a URL, which is opened on first use."""
        other = copy.copy(self)
        other._choice = self._find(driver)  # noqa: SLF001 its own class
        return other

    def compose(self, message: Message) -> Letter:
        """The letter that goes out, for those who send it themselves several times; InvalidMessageError."""
        return self._writer.write(message)

    async def send(self, message: Message | Letter) -> str:
        """Send it now and return its Message-ID, once the receiver has accepted it for all recipients.

        InvalidMessageError, MailRefusedError or MailUnavailableError. After PartlySentError, send
        ``dataclasses.replace(letter, recipients=error.waiting)`` to the others, if there are any. Takes 45 seconds
        at most.
        """
        letter = message if isinstance(message, Letter) else self.compose(message)
        await self._transmit(self._choice, letter)
        return _read_id(letter)

    async def enqueue(self, message: Message | Letter, *, connection: object | None = None) -> str:
        """Let a worker of the queue send it; return its Message-ID.

        With ``connection`` (psycopg, or SQLAlchemy over it) it is sent if and when the open transaction there commits.
        It is composed here, so what is wrong with it is an InvalidMessageError here.
        """
        letter = message if isinstance(message, Letter) else self.compose(message)
        with observe(self._observer, "mail", "enqueue", self._choice.driver.name):
            await self._push(letter, via=self._choice.name, connection=connection)
        return _read_id(letter)

    async def _run(self, job: SendMail, _run: Run) -> None:
        """One attempt. What it raises is the queue's: it tries again, unless the mail was refused."""
        choice = self._choices.get(job.via)
        if choice is None:
            raise MailError(f"the mailer has no driver named {job.via}")
        letter = unpack_letter(job, cipher=self._cipher)
        try:
            await self._transmit(choice, letter)
        except PartlySentError as error:
            log.warning("mail %s: %s", job.mail_id, error.reason)
            if error.waiting:
                await self._push(replace(letter, recipients=error.waiting), via=job.via, connection=None)

    def _find(self, driver: str | SecretStr) -> Choice:
        if isinstance(driver, SecretStr) or ":" in driver:
            return Choice.of(driver)
        if driver not in self._choices:
            known = ", ".join(sorted(self._choices))
            raise MailError(f"the mailer has no driver named {driver}; it has: {known}")
        return self._choices[driver]

    async def _transmit(self, choice: Choice, letter: Letter) -> None:
        transport = self._pool.get(choice)
        if letter.recipients == ():
            return
        with observe(self._observer, "mail", "send", choice.driver.name):
            await transport.send(letter)

    async def _push(self, letter: Letter, *, via: str | None, connection: object) -> None:
        if self._queue is None:
            raise MailError("the mailer has no queue: call mailer.use_queue(queue)")
        if via is None:
            raise MailError("a mail in the queue needs a driver with a name, since its URL may have a password")
        await self._queue.push(pack_letter(letter, via=via, cipher=self._cipher), connection=connection)


def _read_id(letter: Letter) -> str:
    return str(letter.message["Message-ID"])
