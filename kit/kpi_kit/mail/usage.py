"""Send a mail with an attachment, and enqueue another one from a template."""

import asyncio
import tempfile
from pathlib import Path

from kpi_kit.mail import Attachment, MailFake, Message

_TEXT = "{% block subject %}Welcome, {{ name }}{% endblock %}\n\nYour account is ready: {{ link }}\n"
_HTML = '<p>Your account is ready, {{ name }}: <a href="{{ link }}">open it</a></p>\n'


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        templates = Path(folder)
        (templates / "welcome.txt").write_text(_TEXT)
        (templates / "welcome.html").write_text(_HTML)
        # In a service: Mailer.from_url(settings.mail_url, sender="Shop <no-reply@example.com>", templates="shop.mails")
        async with MailFake(sender="Shop <no-reply@example.com>", named=["bulk"], templates=templates) as mailer:
            invoice = Attachment("invoice.pdf", b"%PDF-1.7 ...", "application/pdf")
            await mailer.send(
                Message(to="Anna <anna@example.com>", subject="Invoice", text="See the file.\n", attachments=[invoice])
            )
            sent = mailer.assert_sent(to="anna@example.com")
            print(f"sent {sent.subject!r} with {sent.attachments[0].name}")

            # In a service, with connection=..., that of the transaction that creates the account.
            values = {"name": "Ben <ben>", "link": "https://shop.example.com/start"}
            await mailer.via("bulk").enqueue(Message(to="ben@example.com", template="welcome", values=values))
            await mailer.deliver_queued()
            print(f"sent {mailer.assert_sent(via='bulk').subject!r} from a template")


if __name__ == "__main__":
    asyncio.run(main())
