"""The message that goes out: its encodings."""

from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage

import pytest
from kpi_kit.mail.composing import Draft, compose, to_one_line


def draft(text: str) -> EmailMessage:
    to, noon = Address("", "anna", "example.com"), datetime(2026, 1, 2, 12, tzinfo=UTC)
    return compose(
        Draft(sender=to, to=[to], subject="A subject", text=text, message_id="7@example.com", created_at=noon)
    )


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("https://example.com/?code=abc\n", "7bit"),
        ("Grüße\n", "8bit"),
        ("x" * 990, "7bit"),
        ("x" * 991, "quoted-printable"),
        ("ü" * 496, "base64"),
        # Lines for Python, but not for a mail server.
        ("x" * 600 + "\u2028" + "x" * 600, "quoted-printable"),
        ("x" * 600 + "\x0b" + "x" * 600, "quoted-printable"),
    ],
)
def test_a_text_is_encoded_only_if_a_line_is_too_long(text: str, encoding: str) -> None:
    message = draft(text)
    assert message["Content-Transfer-Encoding"] == encoding
    assert max(len(line) for line in message.as_bytes().split(b"\r\n")) <= 998
    assert message.get_content().strip() == text.strip()


def test_a_subject_is_one_line() -> None:
    assert to_one_line(" a\r\nBcc: b\u2028c\t d ") == "a Bcc: b c d"
