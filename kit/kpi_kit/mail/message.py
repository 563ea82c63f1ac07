"""A mail as its sender writes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Attachment:
    """A file. ``name`` has no line breaks, and ``media_type`` is that of a single file: not ``multipart/...``."""

    name: str
    content: bytes = field(repr=False)
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class Message:
    """A mail to one or more recipients, with the fixed text that it has or with a template.

    Each address is ``anna@example.com`` or ``Anna <anna@example.com>``; ``str(email.headerregistry.Address(...))``
    quotes a name with special characters. An address that is given more than once gets the mail once.
    """

    to: str | Sequence[str] = field(repr=False)
    cc: str | Sequence[str] = field(default=(), repr=False)
    # No recipient sees these.
    bcc: str | Sequence[str] = field(default=(), repr=False)
    reply_to: str | Sequence[str] = field(default=(), repr=False)
    # The address in From. None: that of the mailer.
    sender: str | None = None
    # With a template, None means the block ``subject`` of its text.
    subject: str | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)
    # Used as it is: escape what users wrote, or use a template, which does.
    html: str | None = field(default=None, repr=False)
    # Renders ``name.txt`` and ``name.html`` of the mailer's templates with ``values``; instead of text and html.
    template: str | None = None
    values: Mapping[str, object] = field(default_factory=dict, repr=False)
    attachments: Sequence[Attachment] = ()
    # More header fields, such as List-Unsubscribe.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
