"""Making a mail of its template and of what it is filled with."""

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

from kpi_auth.mails.models import LeasedMail
from kpi_auth.mails.transports import Letter
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.mail_addresses import mail_sender

TEMPLATES = Path(__file__).parent / "templates"
# RFC 5322, 2.1.1, has 998 characters; some are left for the dots that SMTP doubles.
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

    def letter(self, mail: LeasedMail, values: Mapping[str, str]) -> Letter:
        """The mail with both of its bodies; raises where a value is missing or is no part of a mail."""
        known = {
            "site": self._site,
            "when": _for_people(mail.created_at),
            "until": _for_people(mail.expires_at) if mail.expires_at else "",
            **values,
        }
        recipient = _recipient(mail.recipient)
        message = EmailMessage(policy=SMTP if recipient.addr_spec.isascii() else SMTPUTF8)
        message["From"] = self._from
        message["To"] = recipient
        message["Subject"] = self._subject(mail.template, known)
        message["Date"] = format_datetime(mail.created_at)
        message["Message-ID"] = self._message_id(mail)
        # RFC 3834: no holiday notes in return, please.
        message["Auto-Submitted"] = "auto-generated"
        text = self._templates.get_template(f"{mail.template}.txt").render(known)
        html = self._templates.get_template(f"{mail.template}.html").render(known)
        message.set_content(text, cte=_encoding(text))
        message.add_alternative(html, subtype="html", cte=_encoding(html))
        return Letter(mail.id, mail.template, mail.created_at, message)

    def _subject(self, name: str, values: Mapping[str, str]) -> str:
        template = self._templates.get_template(f"{name}.txt")
        text = "".join(template.blocks["subject"](template.new_context(dict(values))))
        # One line, whatever is in it: a line break would begin another header.
        return " ".join(text.split())

    def _message_id(self, mail: LeasedMail) -> str:
        """The same whenever the mail is sent again, so that whoever gets it twice can tell.

        The moment keeps mails of two databases apart, whose ids both begin with 1.
        """
        return f"<{mail.id}.{int(mail.created_at.timestamp() * 1_000_000)}@{self._from.domain}>"


def _for_people(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _recipient(address: str) -> Address:
    """Every server takes a domain in its ASCII form (RFC 5891); only what is left of the @ may not have one."""
    with suppress(EmailNotValidError):
        # An address that was taken in once is not judged anew: that is the mail server's business.
        address = validate_email(address, check_deliverability=False, test_environment=True).ascii_email or address
    if address.isascii():
        return Address(addr_spec=address)
    # The library parses ASCII alone.
    username, _, domain = address.rpartition("@")
    return Address(username=username, domain=domain)


def _encoding(text: str) -> str | None:
    """As it stands, so that a link in a file can be copied; encoded only where a line is too long for that."""
    if any(len(line.encode()) > _MAX_LINE for line in text.splitlines()):
        return None
    return "7bit" if text.isascii() else "8bit"
