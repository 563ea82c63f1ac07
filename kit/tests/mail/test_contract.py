"""What holds for each driver and for the fake."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kpi_kit.errors import NotOpenError
from kpi_kit.mail import Attachment, InvalidMessageError, MailError, MailFake, Message
from mail_hostile import EVE, list_hostile
from mail_receivers import KEY, Receiver, receiving, until_read
from opening_support import open_anew
from pydantic import SecretStr

KINDS = ["smtp", "ses", "sendgrid", "mailgun", "file", "memory", "fake"]
USUAL = {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"}
FILE_FIELDS = {"Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "MIME-Version"}
USUAL |= {"Content-Transfer-Encoding"}


@pytest.fixture(params=KINDS)
async def receiver(
    request: pytest.FixtureRequest, aws: str, templates: Path, tmp_path: Path
) -> AsyncIterator[Receiver]:
    async with receiving(request.param, aws=aws, folder=tmp_path / "mails", templates=templates) as found:
        yield found


def message(**changes: Any) -> Message:
    return Message(**{"to": "anna@example.com", "subject": "Hello", "text": "Hello\n", **changes})


async def test_a_mail_arrives_as_it_was_written(receiver: Receiver) -> None:
    content = bytes(range(256)) * 20
    message_id = await receiver.mailer.send(
        Message(
            to=['"Änna, of Ulm" <anna@example.com>', "ben@bücher.example"],
            cc="Carl <carl@example.com>",
            bcc=["dora@example.com", "anna@example.com"],
            reply_to=["help@example.com", "Desk <desk@example.com>"],
            subject="Größe, 你好, =?not an encoded word",
            text="Grüße\n.\n..\nFrom here\n" + "x" * 3000 + "\n",
            html="<p>Grüße</p>\n",
            attachments=[Attachment("Zürich.bin", content), Attachment("a.csv", b"a;b\n", "text/csv")],
            headers={"X-Order": "4711"},
        )
    )
    (mail,) = await until_read(receiver, 1)
    found = mail.message
    assert [(one.display_name, one.addr_spec) for one in found["To"].addresses] == [
        ("Änna, of Ulm", "anna@example.com"),
        ("", "ben@xn--bcher-kva.example"),
    ]
    assert str(found["From"]) in {"Shop <shop@example.com>", '"Shop" <shop@example.com>'}
    assert [one.addr_spec for one in found["Cc"].addresses] == ["carl@example.com"]
    assert [one.addr_spec for one in found["Reply-To"].addresses] == ["help@example.com", "desk@example.com"]
    assert found["Subject"] == "Größe, 你好, =?not an encoded word"
    assert (found["X-Order"], found["Message-ID"], found["Auto-Submitted"]) == ("4711", message_id, "auto-generated")
    text, html = (found.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert text.get_content().splitlines() == ["Grüße", ".", "..", "From here", "x" * 3000]
    assert html.get_content().splitlines() == ["<p>Grüße</p>"]
    files = [
        (one.get_filename(), one.get_content_type(), one.get_payload(decode=True)) for one in found.iter_attachments()
    ]
    assert files == [("Zürich.bin", "application/octet-stream", content), ("a.csv", "text/csv", b"a;b\n")]


async def test_bcc_is_sent_to_and_never_in_the_message(receiver: Receiver) -> None:
    await receiver.mailer.send(message(cc="carl@example.com", bcc=["Dora <dora@example.com>", "Anna@example.com"]))
    (mail,) = await until_read(receiver, 1)
    assert b"dora" not in mail.raw.lower()
    assert b"bcc" not in mail.raw.lower()
    everyone = {"anna@example.com", "Anna@example.com", "carl@example.com", "dora@example.com"}
    assert mail.recipients in (None, everyone)


async def test_an_address_that_is_given_twice_gets_one_mail(receiver: Receiver) -> None:
    twice = ["anna@example.com", "Anna <anna@example.com>"]
    await receiver.mailer.send(message(to=twice, cc=["ben@example.com", *twice], bcc=["ben@example.com"]))
    (mail,) = await until_read(receiver, 1)
    assert len(mail.message["To"].addresses) == len(mail.message["Cc"].addresses) == 1
    assert mail.recipients in (None, {"anna@example.com", "ben@example.com"})


async def test_a_template_is_rendered_as_text_and_as_html(receiver: Receiver) -> None:
    await receiver.mailer.send(Message(to="anna@example.com", template="hello", values={"name": "<i>Ännchen</i>"}))
    (mail,) = await until_read(receiver, 1)
    assert mail.message["Subject"] == "Hello <i>Ännchen</i>"
    bodies = [mail.message.get_body((kind,)) for kind in ("plain", "html")]
    texts = [body.get_content() for body in bodies if body is not None]
    assert "Dear <i>Ännchen</i>" in texts[0]
    assert "<b>&lt;i&gt;Ännchen&lt;/i&gt;</b>" in texts[1]


async def test_html_alone_and_a_sender_of_the_message(receiver: Receiver) -> None:
    await receiver.mailer.send(message(text=None, html="<p>x</p>", sender="Sales <sales@example.com>"))
    (mail,) = await until_read(receiver, 1)
    assert mail.message["From"].addresses[0].addr_spec == "sales@example.com"
    body = mail.message.get_body(("html",))
    assert body is not None
    assert body.get_content().strip() == "<p>x</p>"
    assert mail.message["Message-ID"].endswith("@example.com>")


async def test_no_value_adds_a_header_field_or_a_recipient(receiver: Receiver) -> None:
    """Each is refused, or neutralised so that what arrives has only the fields that were asked for."""
    sent, refused = {}, 0
    for hostile in list_hostile():
        try:
            sent[await receiver.mailer.send(message(**hostile.arguments))] = hostile
        except InvalidMessageError:
            refused += 1
    mails = await until_read(receiver, len(sent))
    assert len(mails) == len(sent)
    assert refused > 300
    for mail in mails:
        hostile, fields = sent.pop(mail.message["Message-ID"]), [*mail.message.keys()]
        assert {*fields} <= USUAL | hostile.also, hostile
        assert len(fields) == len({*fields}), hostile
        for part in mail.message.iter_attachments():
            assert {*part.keys()} <= FILE_FIELDS, hostile
        for name in ("To", "Cc", "From", "Reply-To"):
            addresses = mail.message[name].addresses if mail.message[name] else ()
            assert EVE not in [one.addr_spec for one in addresses], hostile
        assert EVE not in (mail.recipients or ()), hostile


async def test_a_letter_that_is_sent_again_has_the_same_id_and_date(receiver: Receiver) -> None:
    letter = receiver.mailer.compose(message())
    ids = [await receiver.mailer.send(letter) for _ in range(2)]
    mails = await until_read(receiver, 1)
    assert len({*ids, *(mail.message["Message-ID"] for mail in mails)}) == 1
    assert len({mail.message["Date"] for mail in mails}) == 1
    assert await receiver.mailer.send(message()) not in ids


async def test_a_letter_can_be_sent_to_some_of_its_recipients(receiver: Receiver) -> None:
    letter = receiver.mailer.compose(message(to=["anna@example.com", "ben@example.com"], cc="carl@example.com"))
    await receiver.mailer.send(replace(letter, recipients=("ben@example.com",)))
    (mail,) = await until_read(receiver, 1)
    if "SesReceiver" not in type(receiver).__name__:
        # moto adds the addresses of the message's fields to those that the call names, which SES does not do.
        assert mail.recipients in (None, {"ben@example.com"})


async def test_another_driver_is_chosen_by_name_or_by_url(receiver: Receiver) -> None:
    other = receiver.mailer.via("other")
    await other.send(message(subject="By name"))
    if isinstance(receiver.mailer, MailFake):
        assert receiver.mailer.assert_sent(subject="By name").via == "other"
    await receiver.mailer.via(SecretStr(receiver.url)).send(message(subject="By URL"))
    mails = await until_read(receiver, 2)
    assert {mail.message["Subject"] for mail in mails} == {"By name", "By URL"}
    with pytest.raises(MailError, match="no driver named third; it has: default, other"):
        receiver.mailer.via("third")


async def test_a_mailer_that_is_closed_sends_nothing(receiver: Receiver) -> None:
    assert KEY not in repr(receiver.mailer)
    await receiver.mailer.__aexit__(None, None, None)
    with pytest.raises(NotOpenError):
        await receiver.mailer.send(message())
    await receiver.mailer.__aenter__()
    await receiver.mailer.send(message())


async def test_it_is_opened_again_after_it_is_closed(receiver: Receiver, request: pytest.FixtureRequest) -> None:
    await open_anew(receiver.mailer, lambda: receiver.mailer.send(message()))
    # What is in memory is that of one opening.
    count = 1 if "[memory]" in request.node.name else 4
    assert len(await until_read(receiver, count)) == count
