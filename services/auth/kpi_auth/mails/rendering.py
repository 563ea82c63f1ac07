"""Render a mail from its template and values."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from pathlib import Path

from email_validator import EmailNotValidError, validate_email
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from kpi_shared.product import PRODUCT

from kpi_auth.mails.models import LeasedMail
from kpi_auth.mails.transports import Letter
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.mail_urls import mail_sender

TEMPLATES = Path(__file__).parent / "templates"
# RFC 5322, 2.1.1, allows 998 characters; the rest is for dots that SMTP doubles.
_MAX_LINE = 990


class Renderer:
    def __init__(self, settings: AuthSettings) -> None:
        self._from = mail_sender(settings.mail_from)
        self._site = settings.public_url
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            undefined=StrictUndefined,
            autoescape=select_autoescape(["html"]),
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(self, mail: LeasedMail, values: Mapping[str, str]) -> Letter:
        """Render the mail with a text and an HTML body; raise an error if a value is missing or not valid in a mail."""
        known = {
            "product": PRODUCT,
            "site": self._site,
            "when": _format_time(mail.created_at),
            "until": _format_time(mail.expires_at) if mail.expires_at else "",
            **values,
        }
        recipient = _parse_recipient(mail.recipient)
        message = EmailMessage(policy=SMTP if recipient.addr_spec.isascii() else SMTPUTF8)
        message["From"] = self._from
        message["To"] = recipient
        message["Subject"] = self._render_subject(mail.template, known)
        message["Date"] = format_datetime(mail.created_at)
        message["Message-ID"] = self._message_id(mail)
        # RFC 3834: automatic responders do not reply to this value.
        message["Auto-Submitted"] = "auto-generated"
        text = self._templates.get_template(f"{mail.template}.txt").render(known)
        html = self._templates.get_template(f"{mail.template}.html").render(known)
        message.set_content(text, cte=_choose_encoding(text))
        message.add_alternative(html, subtype="html", cte=_choose_encoding(html))
        return Letter(mail.id, mail.template, mail.created_at, message)

    def _render_subject(self, name: str, values: Mapping[str, str]) -> str:
        template = self._templates.get_template(f"{name}.txt")
        text = "".join(template.blocks["subject"](template.new_context(dict(values))))
        # Always one line: a line break in a value would begin another header field.
        return " ".join(text.split())

    def _message_id(self, mail: LeasedMail) -> str:
        """The same for each attempt, so that a recipient's mail program can recognise duplicates.

        The time distinguishes mails of different databases, whose ids all begin with 1.
        """
        return f"<{mail.id}.{int(mail.created_at.timestamp() * 1_000_000)}@{self._from.domain}>"


def _format_time(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _parse_recipient(address: str) -> Address:
    """Every server accepts the ASCII form of a domain (RFC 5891); the part before the @ may have no such form."""
    with suppress(EmailNotValidError):
        # An address that was accepted before is not validated again; the mail server decides.
        address = validate_email(address, check_deliverability=False, test_environment=True).ascii_email or address
    if address.isascii():
        return Address(addr_spec=address)
    # Address(addr_spec=...) parses ASCII only.
    username, _, domain = address.rpartition("@")
    return Address(username=username, domain=domain)


def _choose_encoding(text: str) -> str | None:
    """Unencoded, so that a link can be copied from a file; None lets the library encode lines that are too long."""
    if any(len(line.encode()) > _MAX_LINE for line in text.splitlines()):
        return None
    return "7bit" if text.isascii() else "8bit"
