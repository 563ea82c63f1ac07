"""Mails: composed safely, sent now or in the caller's transaction, by SMTP, SES, SendGrid, Mailgun or into files."""

from kpi_kit.ciphers import Cipher
from kpi_kit.mail.errors import (
    InvalidMessageError,
    MailError,
    MailRefusedError,
    MailSettingsError,
    MailUnavailableError,
    NotSentError,
    PartlySentError,
)
from kpi_kit.mail.fake import MailFake, SentMail
from kpi_kit.mail.jobs import SendMail
from kpi_kit.mail.mailer import Mailer
from kpi_kit.mail.message import Attachment, Message

__all__ = [
    "Attachment",
    "Cipher",
    "InvalidMessageError",
    "MailError",
    "MailFake",
    "MailRefusedError",
    "MailSettingsError",
    "MailUnavailableError",
    "Mailer",
    "Message",
    "NotSentError",
    "PartlySentError",
    "SendMail",
    "SentMail",
]
