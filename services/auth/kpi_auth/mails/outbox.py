"""Add a mail to the outbox, in the transaction of the change that it reports."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kpi_shared.tokens import InvalidTokenError, KeyRing, open_sealed, seal
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.context import Context
from kpi_auth.mails import repository
from kpi_auth.mails.errors import MailNotConfiguredError
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.secret_keys import SecretKeys

# Prevents encrypted content from being accepted as an access token, and the reverse.
PURPOSE = b"kpi-mail"


class Template(StrEnum):
    """All mails; the comments name the values of each, in addition to ``username``."""

    VERIFY_EMAIL = "verify_email"  # link
    ADDRESS_IN_USE = "address_in_use"  # username is that of the account with the address
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
    """A mail to one recipient; it is not sent after ``expires_at``."""

    template: Template
    to: str
    values: Mapping[str, str] = field(default_factory=dict)
    expires_at: datetime | None = None


class UnreadableMailError(Exception):
    """The content was encrypted with a key that is not known any more, or was modified."""


def is_enabled(context: Context) -> bool:
    """Whether this server is configured to send mail."""
    return context.settings.mail_url is not None


def require_enabled(context: Context) -> None:
    """Raise MailNotConfiguredError if this server is not configured to send mail."""
    if not is_enabled(context):
        raise MailNotConfiguredError


async def put(context: Context, connection: AsyncConnection, mail: Mail) -> None:
    """Add a mail to the outbox; if this server is not configured to send mail, nothing is added.

    The values are encrypted: a link among them may give access to an account.
    """
    if not is_enabled(context):
        return
    key = content_keys(context.settings, context.tokens.ring)[0]
    content = seal(json.dumps(dict(mail.values)).encode(), key=key, implicit=PURPOSE)
    await repository.add(
        connection, recipient=mail.to, template=mail.template.value, content=content, expires_at=mail.expires_at
    )


def content_keys(settings: AuthSettings, ring: KeyRing) -> tuple[bytes, ...]:
    """The first key encrypts, and what any of them has encrypted can be read.

    A key of the tokens encrypts as long as these do not turn, so that replicas of an earlier version can read it. Those
    of a ring that turns would be gone before a mail that waits for its server is sent.
    """
    lasting = SecretKeys(settings).derive(PURPOSE)
    tokens = ring.symmetric_keys
    return (*lasting, *tokens) if settings.has_ring else (*tokens, *lasting)


def open_content(keys: Iterable[bytes], content: str | None) -> dict[str, str]:
    """Decrypt the values of a mail's template; raise UnreadableMailError if that is not possible."""
    for key in keys:
        with suppress(InvalidTokenError):
            values: dict[str, str] = json.loads(open_sealed(content or "", key=key, implicit=PURPOSE))
            return values
    raise UnreadableMailError
