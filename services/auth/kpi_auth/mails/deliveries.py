"""A mail in delivery: its lease, and its turn to send the content."""

import asyncio
from collections.abc import Awaitable, Callable

from kpi_kit.mail.errors import MailUnavailableError
from kpi_shared.background import Lease

from kpi_auth.mails.models import LeasedMail


class Turns:
    """Of the mails of a worker, one at a time is between its content and the commit of its outcome.

    A worker that is killed there leaves a mail that will be sent twice, so it should be one. A server that takes long
    to accept a mail must not delay all others, so each waits for its turn for some seconds only.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = asyncio.Lock()

    async def take(self) -> bool:
        """True if the caller has to give the turn back."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._lock.acquire()
        except TimeoutError:
            return False

    def give_back(self) -> None:
        self._lock.release()


class Delivery:
    """One attempt to send a leased mail, as the transport and the worker see it."""

    def __init__(
        self, mail: LeasedMail, lease: Lease, turns: Turns, *, store_sent: Callable[[LeasedMail], Awaitable[None]]
    ) -> None:
        self.mail = mail
        self.lease = lease
        self.is_accepted = False
        self._turns = turns
        self._has_turn = False
        self._store_sent = store_sent

    async def begin_content(self) -> None:
        """Wait for the turn; MailUnavailableError if another worker may have leased the mail in the meantime."""
        self._has_turn = await self._turns.take()
        if self.lease.is_over:
            raise MailUnavailableError("the lease ended before the mail was sent")

    async def accept(self) -> None:
        self.is_accepted = True
        await self._store_sent(self.mail)
        self.end()

    def end(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._turns.give_back()
