"""Sending codes by e-mail, as links. Redeeming a code proves that the client reads the address."""

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

# Below the public address. Both pages read the code from the fragment, which browsers do not send: it appears in no log
# and no Referer, and a program that only fetches the link, such as a mail scanner, does not redeem the code.
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
    """The account and the address of a code; ``holder`` is the username of another account that has the address."""

    user_id: int
    username: str
    email: str
    holder: str | None = None


# No account has this id, and the address does not exist (RFC 2606).
_NO_ADDRESSEE = Addressee(0, "none", "none@nowhere.invalid")


async def send(context: Context, connection: AsyncConnection, *, purpose: Purpose, to: Addressee) -> None:
    """Send a new code; or, if another account has the address, a notice to its owner.

    A code is issued in both cases, so that both take the same time.
    """
    code = await service.issue(connection, user_id=to.user_id, purpose=purpose, email=to.email)
    expires_at = datetime.now(UTC) + service.LIFETIMES[purpose]
    if to.holder is not None:
        mail = Mail(Template.ADDRESS_IN_USE, to.email, {"username": to.holder}, expires_at)
    else:
        values = {"username": to.username, "link": _link(context, purpose, code)}
        mail = Mail(_TEMPLATES[purpose], to.email, values, expires_at)
    # Any client can request e-mails to any address. None is sent beyond the limit, and the response is the same.
    if (await attempts.add(connection, [recipient_limit(context, email=to.email)])).keys:
        await outbox.put(context, connection, mail)


async def send_or_simulate(
    context: Context, connection: AsyncConnection, *, purpose: Purpose, to: Addressee | None
) -> None:
    """Do the same work whether or not there is an addressee; without one it is rolled back."""
    async with connection.begin_nested() as savepoint:
        await send(context, connection, purpose=purpose, to=to or _NO_ADDRESSEE)
        if to is None:
            await savepoint.rollback()


def _link(context: Context, purpose: Purpose, code: str) -> str:
    return f"{context.settings.public_url}/{_PAGES[purpose]}#code={code}"
