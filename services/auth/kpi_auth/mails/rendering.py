"""Render a mail from its template and values."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from kpi_kit.mail.addresses import read_address, read_mailbox
from kpi_kit.mail.composing import Draft, compose
from kpi_kit.mail.contract import Letter
from kpi_kit.mail.templates import build_templates, render_template
from kpi_shared.product import PRODUCT

from kpi_auth.mails.models import LeasedMail
from kpi_auth.settings import AuthSettings

TEMPLATES = Path(__file__).parent / "templates"


class Renderer:
    def __init__(self, settings: AuthSettings) -> None:
        self._from = read_mailbox(settings.mail_from)
        self._site = settings.public_url
        self._templates = build_templates(TEMPLATES)

    def render(self, mail: LeasedMail, values: Mapping[str, str]) -> Letter:
        """Render the mail with a text and an HTML body; raise an error if a value is missing or not valid in a mail."""
        known = {
            "product": PRODUCT,
            "site": self._site,
            "when": _format_time(mail.created_at),
            "until": _format_time(mail.expires_at) if mail.expires_at else "",
            **values,
        }
        recipient = read_address(mail.recipient)
        subject, text, html = render_template(self._templates, mail.template, known)
        draft = Draft(
            sender=self._from,
            to=[recipient],
            subject=subject,
            text=text,
            html=html,
            message_id=self._choose_message_id(mail),
            created_at=mail.created_at,
        )
        return Letter(mail.id, mail.template, mail.created_at, compose(draft))

    def _choose_message_id(self, mail: LeasedMail) -> str:
        """The same for each attempt, so that a recipient's mail program can recognise duplicates.

        The time distinguishes mails of different databases, whose ids all begin with 1.
        """
        return f"{mail.id}.{int(mail.created_at.timestamp() * 1_000_000)}@{self._from.domain}"


def _format_time(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
