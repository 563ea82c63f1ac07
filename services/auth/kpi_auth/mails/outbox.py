"""Putting a mail into the outbox, in the transaction of what it tells about."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kpi_shared.tokens import InvalidTokenError, KeyRing, open_sealed, seal
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.context import Context
from kpi_auth.mails import repository
from kpi_auth.mails.errors import MailNotConfiguredError

# Keeps a sealed mail from being read as an access token, and the other way round.
PURPOSE = b"kpi-mail"


class Template(StrEnum):
    """The mails there are, and what each is filled with (in addition to ``username``)."""

    VERIFY_EMAIL = "verify_email"  # link
    ADDRESS_IN_USE = "address_in_use"  # username of the account that has it
    USERNAME_IN_USE = "username_in_use"
    RESET_PASSWORD = "reset_password"  # noqa: S105 link
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 a template's name
    CONFIRM_EMAIL = "confirm_email"  # link; to the new address
    EMAIL_CHANGE_REQUESTED = "email_change_requested"  # new_email; to the old address
    EMAIL_CHANGED = "email_changed"  # new_email
    SESSIONS_ENDED = "sessions_ended"
    IDENTITY_LINKED = "identity_linked"  # provider


@dataclass(frozen=True)
class Mail:
    """A mail to one recipient; after ``expires_at`` there is no use in sending it."""

    template: Template
    to: str
    values: Mapping[str, str] = field(default_factory=dict)
    expires_at: datetime | None = None


class UnreadableMailError(Exception):
    """What the mail is filled with was sealed with a key that is no longer known, or was changed."""


def is_open(context: Context) -> bool:
    """Is mail sent at all?"""
    return context.settings.mail_url is not None


def require_open(context: Context) -> None:
    """MailNotConfiguredError where no mail is sent."""
    if not is_open(context):
        raise MailNotConfiguredError


async def put(context: Context, connection: AsyncConnection, mail: Mail) -> None:
    """Keep a mail until it is sent; where no mail is sent at all, nothing is kept.

    What it is filled with is sealed: a link in it may open an account.
    """
    if not is_open(context):
        return
    ring = context.key_ring
    footer = json.dumps({"kid": ring.current_id}, separators=(",", ":"))
    content = seal(json.dumps(dict(mail.values)).encode(), key=ring.current, footer=footer.encode(), implicit=PURPOSE)
    await repository.add(
        connection, recipient=mail.to, template=mail.template.value, content=content, expires_at=mail.expires_at
    )


def open_content(ring: KeyRing, content: str | None) -> dict[str, str]:
    """What a mail of the outbox is filled with, or UnreadableMailError."""
    for key in reversed(ring.keys):
        with suppress(InvalidTokenError):
            values: dict[str, str] = json.loads(open_sealed(content or "", key=key, implicit=PURPOSE))
            return values
    raise UnreadableMailError
