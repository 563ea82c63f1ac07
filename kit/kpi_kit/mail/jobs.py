"""Mails as jobs of a queue: the message as it goes out, so each attempt sends the same bytes."""

import json
from datetime import datetime, timedelta
from typing import cast

from kpi_kit.ciphers import Cipher, seal, unseal
from kpi_kit.mail.contract import Letter
from kpi_kit.mail.errors import MailError, MailRefusedError
from kpi_kit.mail.fields import read_message
from kpi_kit.queue.jobs import Job, Retry

# The last attempt is about 15 hours after the first: a server may be down for a night.
_RETRY = Retry(
    attempts=28,
    first=timedelta(seconds=10),
    factor=2.0,
    longest=timedelta(hours=1),
    never_after=(MailRefusedError,),
)


class SendMail(Job, name="kpi.mail.send", on="mails", retry=_RETRY, own_places=True):
    """The payload of a job. ``content`` is JSON of the recipients and the message, perhaps encrypted."""

    via: str
    mail_id: str
    template: str
    created_at: datetime
    content: str
    is_encrypted: bool = False

    def __repr__(self) -> str:
        return f"SendMail(via={self.via!r}, mail_id={self.mail_id!r}, template={self.template!r})"

    __str__ = __repr__


def pack_letter(letter: Letter, *, via: str, cipher: Cipher | None) -> SendMail:
    """The job for a letter that a mailer wrote."""
    # All parts of a composed message are UTF-8: bodies that are not, and files, are in base64.
    raw = letter.message.as_bytes().decode()
    content = {"recipients": letter.recipients, "message": raw}
    mail_id = str(letter.mail_id)
    return SendMail(
        via=via,
        mail_id=mail_id,
        template=letter.template,
        created_at=letter.created_at,
        content=json.dumps(content) if cipher is None else seal(content, cipher, of=f"mail {mail_id}"),
        is_encrypted=cipher is not None,
    )


def unpack_letter(job: SendMail, *, cipher: Cipher | None) -> Letter:
    """The letter of a job; MailError if it is encrypted and this mailer has no cipher."""
    if job.is_encrypted:
        missing = MailError("the mail in the queue is encrypted, and this mailer has no cipher")
        found = unseal(job.content, cipher, of=f"mail {job.mail_id}", missing=missing)
    else:
        found = json.loads(job.content)
    message, recipients = read_message(cast("str", found["message"]).encode()), found["recipients"]
    return Letter(job.mail_id, job.template, job.created_at, message, None if recipients is None else tuple(recipients))
