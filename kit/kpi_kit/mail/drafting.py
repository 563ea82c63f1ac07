"""From a message as its sender writes it to a letter that a transport sends."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kpi_kit.extras import import_driver
from kpi_kit.mail.addresses import read_mailbox
from kpi_kit.mail.composing import Draft, compose
from kpi_kit.mail.contract import Letter
from kpi_kit.mail.errors import InvalidMessageError, MailSettingsError
from kpi_kit.mail.message import Message

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Writer:
    """What a mailer adds to each message: its sender, and the templates."""

    sender: Address | None
    templates: "Environment | None"

    @classmethod
    def build(cls, sender: str | None, templates: Path | str | None) -> "Writer":
        """MailSettingsError for a sender that is no address, or missing templates; MissingExtraError without jinja2."""
        try:
            found = None if sender is None else read_mailbox(sender)
        except ValueError as error:
            raise MailSettingsError(str(error)) from None
        if templates is None:
            return cls(found, None)
        module = import_driver("kpi_kit.mail.templates", extra="mail")
        return cls(found, module.build_templates(templates))

    def write(self, message: Message) -> Letter:
        """A letter with an id and a time of its own; InvalidMessageError says what is wrong, without the content."""
        try:
            return self._write(message)
        except (ValueError, MessageError) as error:
            raise InvalidMessageError(str(error)) from None

    def _write(self, message: Message) -> Letter:
        sender = self.sender if message.sender is None else read_mailbox(message.sender)
        if sender is None:
            raise ValueError("a sender is needed: of the message, or of the mailer")
        fields = {name: _read_all(getattr(message, name)) for name in ("to", "cc", "bcc", "reply_to")}
        if not fields["to"]:
            raise ValueError("a mail needs an address in to")
        bodies = self._render(message)
        mail_id, now = secrets.token_hex(12), datetime.now(UTC)
        seen: set[str] = set()
        draft = Draft(
            sender=sender,
            to=_take_new(fields["to"], seen),
            cc=_take_new(fields["cc"], seen),
            reply_to=fields["reply_to"],
            subject=bodies.subject,
            text=bodies.text,
            html=bodies.html,
            attachments=message.attachments,
            headers=message.headers,
            message_id=f"{mail_id}@{sender.domain}",
            created_at=now,
        )
        hidden = _take_new(fields["bcc"], seen)
        recipients = tuple(address.addr_spec for address in (*draft.to, *draft.cc, *hidden))
        return Letter(mail_id, message.template or "mail", now, compose(draft), recipients)

    def _render(self, message: Message) -> "_Bodies":
        if message.template is None:
            return _Bodies(message.subject or "", message.text, message.html)
        if message.text is not None or message.html is not None:
            raise ValueError("a mail has a template, or a text and HTML, but not both")
        if self.templates is None:
            raise ValueError("the mailer has no templates")
        subject, text, html = _render(self.templates, message.template, message.values)
        return _Bodies(subject if message.subject is None else message.subject, text, html)


class _Bodies(NamedTuple):
    subject: str
    text: str | None
    html: str | None


def _render(templates: "Environment", name: str, values: Mapping[str, object]) -> tuple[str, str, str]:
    from jinja2 import TemplateError  # noqa: PLC0415 there are templates, so the package is installed

    from kpi_kit.mail.templates import render_template  # noqa: PLC0415 as above

    try:
        return render_template(templates, name, values)
    except TemplateError as error:
        raise ValueError(f"the template {name} cannot be rendered: {type(error).__name__}: {error}") from None
    except Exception as error:  # noqa: BLE001 a template calls what its values are; the text may quote one
        raise ValueError(f"the template {name} cannot be rendered: {type(error).__name__}") from None


def _read_all(addresses: str | Sequence[str]) -> list[Address]:
    return [read_mailbox(text) for text in ([addresses] if isinstance(addresses, str) else addresses)]


def _take_new(addresses: Iterable[Address], seen: set[str]) -> list[Address]:
    """Those that are not in ``seen``, to which they are added: no recipient gets a mail twice."""
    found = {address.addr_spec: address for address in addresses if address.addr_spec not in seen}
    seen.update(found)
    return list(found.values())
