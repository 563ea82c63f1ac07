"""What a driver of mails does."""

from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from typing import Protocol

# For one mail in all, from connecting until the server has accepted it.
SEND_SECONDS = 45.0


@dataclass(frozen=True)
class Letter:
    """A composed mail, and what identifies it. ``template`` is only for the names of files and for logs.

    ``recipients`` are the addresses that it is sent to, those of Bcc too; None stands for those
    of To and Cc, and ``()`` for no one.
    """

    mail_id: int | str
    template: str
    created_at: datetime
    message: EmailMessage = field(repr=False)
    recipients: tuple[str, ...] | None = field(default=None, repr=False)


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
    """A driver of mails."""

    async def send(self, letter: Letter, hooks: Hooks = NO_HOOKS) -> None:
        """Return once the receiver has accepted responsibility for the mail; raise NotSentError otherwise.

        PartlySentError, if it was accepted for some of its recipients only. No call takes longer than the transport's
        seconds, SEND_SECONDS unless given.
        """

    async def close(self) -> None:
        """Close what is open. Mails that are being sent may fail."""
