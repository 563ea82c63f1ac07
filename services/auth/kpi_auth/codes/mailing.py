"""Codes on their way: each goes out as a link in a mail, to the address that using it proves."""

from datetime import UTC, datetime
from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.attempts import repository as attempts
from kpi_auth.attempts.limits import recipient_limit
from kpi_auth.codes import service
from kpi_auth.codes.models import Purpose
from kpi_auth.mails.outbox import Mail, MailNotConfiguredError, Outbox, Template
from kpi_auth.settings import AuthSettings

# Below the public address. Both pages read the code from the fragment, which browsers keep to themselves: it reaches
# no log and no Referer, and whoever only fetches the link, as mail scanners do, uses nothing up.
_PAGES = {
    Purpose.VERIFY_EMAIL: "auth/verify-email",
    Purpose.CHANGE_EMAIL: "auth/verify-email",
    Purpose.RESET_PASSWORD: "auth/reset-password",
}
_TEMPLATES = {
    Purpose.VERIFY_EMAIL: Template.VERIFY_EMAIL,
    Purpose.CHANGE_EMAIL: Template.CONFIRM_EMAIL,
    Purpose.RESET_PASSWORD: Template.RESET_PASSWORD,
}


class Addressee(NamedTuple):
    """Whose code it is and where it goes; ``holder`` is the account that has the address already, if one has."""

    user_id: int
    username: str
    email: str
    holder: str | None = None


# No account has this id, and no mailbox this address (RFC 2606).
_NOBODY = Addressee(0, "nobody", "nobody@nowhere.invalid")


class CodeMails:
    def __init__(self, outbox: Outbox, settings: AuthSettings) -> None:
        self.outbox = outbox
        self._public_url = settings.public_url
        self._most = settings.mails_per_account

    def require_open(self) -> None:
        """MailNotConfiguredError where no mail is sent."""
        if not self.outbox.is_open:
            raise MailNotConfiguredError

    async def send(self, connection: AsyncConnection, purpose: Purpose, to: Addressee) -> None:
        """Mail a new code; or, where another account has the address, tell its owner so.

        A code is made in both cases, so that both take as long.
        """
        code = await service.issue(connection, user_id=to.user_id, purpose=purpose, email=to.email)
        expires_at = datetime.now(UTC) + service.LIFETIMES[purpose]
        if to.holder is not None:
            mail = Mail(Template.ADDRESS_IN_USE, to.email, {"username": to.holder}, expires_at)
        else:
            values = {"username": to.username, "link": self._link(purpose, code)}
            mail = Mail(_TEMPLATES[purpose], to.email, values, expires_at)
        # Anybody can have these sent to anybody. Beyond the limit none is, and the answer does not tell.
        if (await attempts.add(connection, [recipient_limit(self._most, email=to.email)])).keys:
            await self.outbox.put(connection, mail)

    async def send_or_seem_to(self, connection: AsyncConnection, purpose: Purpose, to: Addressee | None) -> None:
        """The same work whether or not there is anybody to send to: for nobody it is taken back."""
        async with connection.begin_nested() as savepoint:
            await self.send(connection, purpose, to or _NOBODY)
            if to is None:
                await savepoint.rollback()

    def _link(self, purpose: Purpose, code: str) -> str:
        return f"{self._public_url}/{_PAGES[purpose]}#code={code}"


async def _code_mails(request: Request) -> CodeMails:
    mails: CodeMails = request.app.state.code_mails
    return mails


CodeMailsOfApp = Annotated[CodeMails, Depends(_code_mails)]
