"""A letter for the tests of transports."""

from datetime import UTC, datetime
from email.message import EmailMessage

from kpi_kit.mail.contract import Letter


def letter(*, to: str = "anna@example.com", mail_id: int = 7) -> Letter:
    message = EmailMessage()
    message["From"] = "KPI-One <no-reply@example.com>"
    message["To"] = to
    message["Subject"] = "A test"
    message["Message-ID"] = f"<{mail_id}@example.com>"
    message.set_content("A line.\n.\n.. and dots\n")
    return Letter(mail_id, "verify_email", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), message)
