"""A mailer for tests: it composes and refuses as the real one does, and keeps what it would send."""

from collections.abc import Collection
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import MIMEPart
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kpi_kit.mail.composing import list_recipients
from kpi_kit.mail.contract import NO_HOOKS, Hooks, Letter, Transport
from kpi_kit.mail.drafting import Writer
from kpi_kit.mail.errors import NotSentError
from kpi_kit.mail.jobs import SendMail, unpack_letter
from kpi_kit.mail.mailer import Choice, Mailer, Pool
from kpi_kit.mail.message import Attachment
from kpi_kit.queue.fake import QueueFake

_SENDER = "Test <test@example.com>"


@dataclass(frozen=True)
class SentMail:
    """A mail as its recipients get it; addresses have no names. ``via`` is the name or the kind of the driver."""

    via: str
    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    reply_to: tuple[str, ...]
    subject: str
    text: str
    html: str
    attachments: tuple[Attachment, ...]
    letter: Letter

    @classmethod
    def of(cls, letter: Letter, via: str) -> "SentMail":
        message = letter.message
        fields = {name: _read_addresses(letter, name) for name in ("From", "To", "Cc", "Reply-To")}
        shown = {*fields["To"], *fields["Cc"]}
        bodies = {kind: message.get_body((kind,)) for kind in ("plain", "html")}
        texts = {kind: "" if body is None else _read_text(body) for kind, body in bodies.items()}
        return cls(
            via=via,
            sender=fields["From"][0],
            to=fields["To"],
            cc=fields["Cc"],
            bcc=tuple(address for address in list_recipients(letter) if address not in shown),
            reply_to=fields["Reply-To"],
            subject=str(message["Subject"]),
            text=texts["plain"],
            html=texts["html"],
            attachments=tuple(_read_attachments(letter)),
            letter=letter,
        )


class _Recorder:
    """A transport that keeps letters, or fails as the test asks."""

    def __init__(self, pool: "_FakePool", via: str) -> None:
        self._pool = pool
        self._via = via

    async def send(self, letter: Letter, hooks: Hooks = NO_HOOKS) -> None:
        await hooks.begin_content()
        if self._pool.failures:
            raise self._pool.failures.pop(0)
        self._pool.sent.append(SentMail.of(letter, self._via))
        await hooks.accept()

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class _FakePool(Pool):
    sent: list[SentMail] = field(default_factory=list)
    failures: list[NotSentError] = field(default_factory=list)

    def build(self, choice: Choice) -> Transport:
        return _Recorder(self, choice.name or choice.driver.name)


class MailFake(Mailer):
    """``sent`` has the mails that were sent; those of ``enqueue`` are sent by ``deliver_queued``.

    Its queue is a ``QueueFake``: a mail is enqueued at once, whatever becomes of the transaction.
    """

    def __init__(
        self, *, sender: str | None = _SENDER, named: Collection[str] = (), templates: Path | str | None = None
    ) -> None:
        self._records = _FakePool()
        self._jobs = QueueFake()
        choices = {name: Choice.of("memory://", name) for name in (*named, "default")}
        super().__init__(choices, Writer.build(sender, templates), pool=self._records)
        self.use_queue(self._jobs)

    @classmethod
    def from_url(
        cls,
        *_: object,
        sender: str | None = None,
        named: Collection[str] | None = None,
        templates: Path | str | None = None,
        **_others: object,
    ) -> Self:
        """A fake, whatever the URL, so that a test can put this class in the place of the real one."""
        return cls(sender=sender, named=named or (), templates=templates)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self._jobs.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        await self._jobs.__aexit__(kind, error, trace)

    @property
    def sent(self) -> list[SentMail]:
        return self._records.sent

    @property
    def queued(self) -> list[SentMail]:
        """All mails that were enqueued, also those that have been sent since."""
        return [SentMail.of(unpack_letter(job, cipher=None), job.via) for job in self._jobs.list_pushed(SendMail)]

    async def deliver_queued(self) -> None:
        """Send what waits, with all attempts at once; AssertionError if a mail was given up."""
        await self._jobs.run_pushed(scheduled=True)
        await self._jobs.assert_none_failed()

    def fail_next(self, error: NotSentError) -> None:
        """Let the next attempt to send a mail fail with ``error``."""
        self._records.failures.append(error)

    def assert_sent(self, *, to: str | None = None, subject: str | None = None, via: str | None = None) -> SentMail:
        """The only mail that was sent to this address, with this subject, by this driver."""
        return _find_one(self.sent, "sent", to=to, subject=subject, via=via)

    def assert_queued(self, *, to: str | None = None, subject: str | None = None, via: str | None = None) -> SentMail:
        """The only mail that was enqueued, of this kind."""
        return _find_one(self.queued, "queued", to=to, subject=subject, via=via)

    def assert_nothing_sent(self) -> None:
        """No mail was sent or enqueued."""
        mails = [*self.sent, *self.queued]
        if mails:
            raise AssertionError(f"{len(mails)} mails were sent or queued: {_list(mails)}")


def _find_one(mails: list[SentMail], what: str, *, to: str | None, subject: str | None, via: str | None) -> SentMail:
    found = [
        mail
        for mail in mails
        if (to is None or to in (*mail.to, *mail.cc, *mail.bcc))
        and (subject is None or mail.subject == subject)
        and (via is None or mail.via == via)
    ]
    if len(found) != 1:
        wanted = {
            name: value for name, value in {"to": to, "subject": subject, "via": via}.items() if value is not None
        }
        raise AssertionError(f"{len(found)} mails were {what} with {wanted}; all of them: {_list(mails) or 'none'}")
    return found[0]


def _list(mails: list[SentMail]) -> str:
    return "; ".join(f"{mail.subject!r} to {', '.join(list_recipients(mail.letter))}" for mail in mails)


def _read_addresses(letter: Letter, name: str) -> tuple[str, ...]:
    header = letter.message[name]
    addresses: tuple[Address, ...] = header.addresses if header else ()
    return tuple(address.addr_spec for address in addresses)


def _read_attachments(letter: Letter) -> list[Attachment]:
    parts = list(letter.message.iter_attachments())
    return [
        Attachment(part.get_filename() or "", _decode(part.get_payload(decode=True)), part.get_content_type())
        for part in parts
    ]


def _read_text(body: "MIMEPart[Any]") -> str:
    """With the line ends that it was written with."""
    return str(body.get_content()).replace("\r\n", "\n")


def _decode(content: object) -> bytes:
    return content if isinstance(content, bytes) else b""
