"""Compose the message that goes out. What would add a header field is refused here, for every driver."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from kpi_kit.mail.contract import Letter
from kpi_kit.mail.fields import POLICY, POLICY_UTF8, check_fields
from kpi_kit.mail.message import Attachment

# RFC 5322, 2.1.1, allows 998 characters; the rest is for dots that SMTP doubles.
_MAX_LINE = 990
_MAX_NAME = 255
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,75}")
# Characters of RFC 6838, 4.2.
_MEDIA_TYPE = re.compile(r"([A-Za-z0-9][\w!#$&^.+-]*)/([A-Za-z0-9][\w!#$&^.+-]*)", re.ASCII)
# They have a place of their own in a draft, or belong to the server.
_OWN_FIELDS = frozenset(
    {
        *("from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "mime-version"),
        *("return-path", "received", "auto-submitted"),
    }
)
_OWN_PREFIXES = ("content-", "resent-", "dkim-", "arc-")


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The parts of a mail, with addresses that were read already. Bcc is not among them: it is never in a message."""

    sender: Address
    to: Sequence[Address]
    cc: Sequence[Address] = ()
    reply_to: Sequence[Address] = ()
    subject: str
    text: str | None = None
    html: str | None = None
    attachments: Sequence[Attachment] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    # Without angle brackets. The same for each attempt, so that a recipient's mail program can recognise duplicates.
    message_id: str
    created_at: datetime


def compose(draft: Draft) -> EmailMessage:
    """The message without Bcc; ValueError if a part of it is not valid in a mail."""
    addresses = [draft.sender, *draft.to, *draft.cc, *draft.reply_to]
    is_ascii = all(address.addr_spec.isascii() for address in addresses)
    message = EmailMessage(policy=POLICY if is_ascii else POLICY_UTF8)
    message["From"] = draft.sender
    for name, several in {"To": draft.to, "Cc": draft.cc, "Reply-To": draft.reply_to}.items():
        if several:
            message[name] = list(several)
    _set_field(message, "Subject", to_one_line(draft.subject))
    message["Date"] = format_datetime(draft.created_at)
    message["Message-ID"] = f"<{draft.message_id}>"
    # RFC 3834: automatic responders do not reply to this value.
    message["Auto-Submitted"] = "auto-generated"
    for name, value in draft.headers.items():
        _check_field_name(name, message)
        _set_field(message, name, value)
    _add_bodies(message, draft)
    for attachment in draft.attachments:
        _attach(message, attachment)
    check_fields(message, sender=[draft.sender], to=draft.to, cc=draft.cc, reply_to=draft.reply_to)
    return message


def list_recipients(letter: Letter) -> list[str]:
    """The addresses that a letter is sent to, each once."""
    if letter.recipients is not None:
        return list(dict.fromkeys(letter.recipients))
    headers = [letter.message[name] for name in ("To", "Cc")]
    return list(dict.fromkeys(address.addr_spec for header in headers if header for address in header.addresses))


def to_one_line(text: str) -> str:
    """A line break in a value would begin another header field."""
    return " ".join(text.split())


def _set_field(message: EmailMessage, name: str, value: str) -> None:
    """Refuse control characters, also those of an encoded word: the library would write them decoded."""
    if value.isprintable() and str(POLICY.header_factory(name, value)).isprintable():
        message[name] = value
        return
    raise ValueError(f"{name} has a line break or a control character")


def _check_field_name(name: str, message: EmailMessage) -> None:
    lower = name.lower()
    if not _FIELD_NAME.fullmatch(name) or lower in _OWN_FIELDS or lower.startswith(_OWN_PREFIXES):
        raise ValueError("a header has a name that is not valid, or is one that the mailer sets")
    if name in message:
        raise ValueError("a header is given twice")


def _add_bodies(message: EmailMessage, draft: Draft) -> None:
    if draft.text is None and draft.html is None:
        raise ValueError("a mail needs a text, HTML or a template")
    if draft.text is not None:
        message.set_content(draft.text, cte=_choose_encoding(draft.text))
    if draft.html is not None and draft.text is None:
        message.set_content(draft.html, subtype="html", cte=_choose_encoding(draft.html))
    elif draft.html is not None:
        message.add_alternative(draft.html, subtype="html", cte=_choose_encoding(draft.html))


def _choose_encoding(text: str) -> str | None:
    """Unencoded, so that a link can be copied from a file; None lets the library encode lines that are too long."""
    if "\0" in text:
        raise ValueError("the text has a NUL character")
    if any(len(line) > _MAX_LINE for line in text.encode().splitlines()):
        return None
    return "7bit" if text.isascii() else "8bit"


def _attach(message: EmailMessage, attachment: Attachment) -> None:
    name, found = attachment.name.strip(), _MEDIA_TYPE.fullmatch(attachment.media_type)
    if not name.isprintable() or not 0 < len(name.encode()) <= _MAX_NAME:
        raise ValueError("the name of an attachment is empty, too long, or has a line break or a control character")
    if found is None or found[1].lower() in {"multipart", "message"}:
        raise ValueError("the media type of an attachment is not that of a single file, such as application/pdf")
    message.add_attachment(attachment.content, maintype=found[1], subtype=found[2], filename=name)
    # The library decodes encoded words in it, so that a name could go on with fields of its own.
    if [*message.iter_attachments()][-1].get_filename() != name:
        raise ValueError("the name of an attachment is an encoded word")
