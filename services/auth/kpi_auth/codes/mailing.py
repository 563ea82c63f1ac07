"""Sending codes: each goes out as a link in a mail, to the address that using it proves."""

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.attempts import repository as attempts
from kpi_auth.attempts.limits import recipient_limit
from kpi_auth.codes import service
from kpi_auth.codes.models import Purpose
from kpi_auth.context import Context
from kpi_auth.mails import outbox
from kpi_auth.mails.outbox import Mail, Template

# Below the public address. Both pages read the code from the fragment, which browsers keep to themselves: it reaches
# no log and no Referer, and a program that only fetches the link, as mail scanners do, uses nothing up.
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
_NO_ADDRESSEE = Addressee(0, "nobody", "nobody@nowhere.invalid")


async def send(context: Context, connection: AsyncConnection, *, purpose: Purpose, to: Addressee) -> None:
    """Mail a new code; or, where another account has the address, tell its owner so.

    A code is made in both cases, so that both take as long.
    """
    code = await service.issue(connection, user_id=to.user_id, purpose=purpose, email=to.email)
    expires_at = datetime.now(UTC) + service.LIFETIMES[purpose]
    if to.holder is not None:
        mail = Mail(Template.ADDRESS_IN_USE, to.email, {"username": to.holder}, expires_at)
    else:
        values = {"username": to.username, "link": _link(context, purpose, code)}
        mail = Mail(_TEMPLATES[purpose], to.email, values, expires_at)
    # Any client can have these sent to any address. Beyond the limit none is, and the response does not tell.
    if (await attempts.add(connection, [recipient_limit(context, email=to.email)])).keys:
        await outbox.put(context, connection, mail)


async def send_or_seem_to(
    context: Context, connection: AsyncConnection, *, purpose: Purpose, to: Addressee | None
) -> None:
    """The same work whether or not there is an addressee: without one it is taken back."""
    async with connection.begin_nested() as savepoint:
        await send(context, connection, purpose=purpose, to=to or _NO_ADDRESSEE)
        if to is None:
            await savepoint.rollback()


def _link(context: Context, purpose: Purpose, code: str) -> str:
    return f"{context.settings.public_url}/{_PAGES[purpose]}#code={code}"
