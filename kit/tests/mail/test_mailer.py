"""Mailers: what they refuse, and mails that wait in a queue."""

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kpi_kit.crypt import CryptFake
from kpi_kit.errors import MissingExtraError
from kpi_kit.mail import (
    Attachment,
    InvalidMessageError,
    Mailer,
    MailError,
    MailFake,
    MailRefusedError,
    MailSettingsError,
    MailUnavailableError,
    Message,
    PartlySentError,
    SendMail,
)
from kpi_kit.mail.drivers.memory import MemoryTransport
from kpi_kit.mail.jobs import pack_letter, unpack_letter
from kpi_kit.queue import QueueFake
from mail_servers import MailServer, serving

MESSAGE = Message(to="anna@example.com", subject="Hello", text="The code is 1234\n")


class Unreadable:
    def __str__(self) -> str:
        raise TypeError("1234")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"to": []}, "an address in to"),
        ({"text": None}, "a text, HTML or a template"),
        ({"text": "a\0b"}, "NUL"),
        ({"template": "hello"}, "but not both"),
        ({"text": None, "template": "missing"}, "the template missing cannot be rendered: TemplateNotFound"),
        ({"text": None, "template": "../hello"}, "cannot be rendered: TemplateNotFound"),
        ({"text": None, "template": "hello"}, "UndefinedError: 'name' is undefined"),
        ({"attachments": [Attachment("x", b"", "multipart/mixed")]}, "media type"),
        ({"attachments": [Attachment("x", b"", "message/rfc822")]}, "media type"),
        ({"attachments": [Attachment("x" * 256, b"")]}, "name of an attachment"),
        ({"attachments": [Attachment("=?utf-8?q?a?=", b"")]}, "an encoded word"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "given twice"),
        ({"text": None, "template": "hello", "values": {"name": Unreadable()}}, "rendered: TypeError$"),
        ({"attachments": [Attachment("", b"")]}, "name of an attachment"),
    ],
)
async def test_a_message_that_cannot_be_sent_is_refused_before(
    templates: Path, changes: dict[str, Any], reason: str
) -> None:
    async with MailFake(templates=templates) as mailer:
        with pytest.raises(InvalidMessageError, match=reason):
            await mailer.send(replace(MESSAGE, **changes))
        with pytest.raises(InvalidMessageError, match=reason):
            await mailer.enqueue(replace(MESSAGE, **changes))
        mailer.assert_nothing_sent()


async def test_a_sender_is_needed() -> None:
    async with MailFake(sender=None) as mailer:
        with pytest.raises(InvalidMessageError, match="a sender is needed"):
            await mailer.send(MESSAGE)
        await mailer.send(replace(MESSAGE, sender="shop@example.com"))
        assert mailer.assert_sent().sender == "shop@example.com"
    with pytest.raises(MailSettingsError, match="an address such as"):
        Mailer.from_url("memory://", sender="nobody")
    with pytest.raises(MailSettingsError, match="the templates 'mail_test_none' are no package"):
        Mailer.from_url("memory://", templates="mail_test_none")


@pytest.mark.parametrize("is_text", [True, False])
def test_templates_can_be_in_a_folder(templates: Path, is_text: bool) -> None:
    mailer = Mailer.from_url("memory://", sender="a@example.com", templates=str(templates) if is_text else templates)
    letter = mailer.compose(Message(to="anna@example.com", template="hello", values={"name": "Anna"}))
    assert letter.message["Subject"] == "Hello Anna"


def test_templates_can_be_in_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mail_test_shop" / "templates"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "a.txt").write_text("{% block subject %}A{% endblock %} text")
    (folder / "a.html").write_text("html")
    monkeypatch.syspath_prepend(str(tmp_path))
    mailer = Mailer.from_url("memory://", sender="shop@example.com", templates="mail_test_shop")
    letter = mailer.compose(Message(to="anna@example.com", template="a"))
    assert letter.message["Subject"] == "A"
    sys.modules.pop("mail_test_shop")


def test_a_representation_has_no_content(templates: Path) -> None:
    secret = "s3cret"
    message = Message(
        to=f"{secret}@example.com",
        subject=secret,
        text=secret,
        html=secret,
        values={"a": secret},
        headers={"X": secret},
    )
    assert secret not in repr(message) + repr(Attachment("x", secret.encode()))
    letter = MailFake(templates=templates).compose(message)
    job = pack_letter(letter, via="default", cipher=None)
    assert secret not in repr(letter) + repr(job) + str(job)


def test_a_driver_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for url, package, extra in [
        ("smtp://localhost", "aiosmtplib", "mail"),
        ("ses://eu-west-1", "boto3", "mail-ses"),
        ("sendgrid://:key@api.sendgrid.com", "httpx", "mail-http"),
    ]:
        with monkeypatch.context() as patch:
            for name in [name for name in sys.modules if name.startswith("kpi_kit.mail.drivers.")]:
                patch.delitem(sys.modules, name)
            patch.setitem(sys.modules, package, None)
            with pytest.raises(MissingExtraError, match=rf"{package} is not installed: add kpi-kit\[{extra}\]"):
                Mailer.from_url(url)


class Observed:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []

    def observe(self, *call: str) -> AbstractContextManager[object]:
        @contextmanager
        def record() -> Iterator[None]:
            self.calls.append(call)  # type: ignore[arg-type]
            yield

        return record()


async def test_a_transport_that_fails_to_close_leaves_no_other_open(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[object] = []

    async def fail_to_close(transport: object) -> None:
        closed.append(transport)
        raise ConnectionError

    monkeypatch.setattr(MemoryTransport, "close", fail_to_close)
    mailer = Mailer.from_url("memory://", sender="shop@example.com", named={"other": "memory://"})
    await mailer.__aenter__()
    await mailer.send(MESSAGE)
    await mailer.via("other").send(MESSAGE)
    with pytest.raises(ConnectionError):
        await mailer.__aexit__(None, None, None)
    assert len(closed) == 2


async def test_calls_are_observed() -> None:
    observer = Observed()
    mailer = Mailer.from_url("memory://", sender="shop@example.com", observer=observer)
    async with QueueFake() as queue, mailer:
        mailer.use_queue(queue)
        await mailer.send(MESSAGE)
        await mailer.enqueue(MESSAGE)
    assert observer.calls == [("mail", "send", "memory"), ("mail", "enqueue", "memory")]


async def test_a_mail_in_the_queue_is_sent_once_and_with_its_id() -> None:
    async with serving(MailServer()) as server:
        mailer = Mailer.from_url("memory://", sender="shop@example.com", named={"bulk": server.url})
        async with QueueFake() as queue, mailer:
            mailer.use_queue(queue)
            connection = object()
            message_id = await mailer.via("bulk").enqueue(MESSAGE, connection=connection)
            assert queue.pushed[0].connection is connection
            assert queue.pushed[0].queue == "mails"
            assert server.contents == []
            await queue.run_pushed()
            await queue.assert_none_failed()
    assert [message["Message-ID"] for message in server.messages] == [message_id]
    assert server.messages[0].get_content().strip() == "The code is 1234"


async def test_each_attempt_sends_the_same_message() -> None:
    async with serving(MailServer(data_answer="451 4.3.0 disk full")) as server:
        mailer = Mailer.from_url(server.url, sender="shop@example.com")
        async with QueueFake() as queue, mailer:
            mailer.use_queue(queue)
            content = replace(MESSAGE, text="Grüße\n", attachments=[Attachment("a.bin", bytes(range(256)))])
            letter = mailer.compose(replace(content, to=["Ü <anna@example.com>", f"{'ö' * 32}@example.com"]))
            await mailer.enqueue(replace(letter, recipients=("anna@example.com",)))
            for encoded in (letter, mailer.compose(content)):
                job = pack_letter(encoded, via="default", cipher=None)
                assert unpack_letter(job, cipher=None).message.as_bytes() == encoded.message.as_bytes()
            await queue.run_pushed()
            await queue.run_pushed()
            server.data_answer = "250 OK"
            await queue.run_pushed(scheduled=True)
            await queue.assert_none_failed()
    assert len(server.contents) == 2
    assert len(set(server.contents)) == 1


async def test_a_refused_mail_is_given_up_and_any_other_is_tried_for_a_night() -> None:
    async with MailFake() as mailer:
        mailer.fail_next(MailRefusedError("550 no such mailbox"))
        await mailer.enqueue(MESSAGE)
        with pytest.raises(AssertionError, match="MailRefusedError"):
            await mailer.deliver_queued()
    async with MailFake() as mailer:
        for _ in range(27):
            mailer.fail_next(MailUnavailableError("451 later"))
        await mailer.enqueue(MESSAGE)
        await mailer.deliver_queued()
        mailer.assert_sent(to="anna@example.com")
    retry = SendMail.job_options.retry
    pauses = [retry.find_pause(attempt, MailUnavailableError("")) for attempt in range(1, retry.attempts)]
    hours = sum(pause.total_seconds() for pause in pauses if pause) / 3600
    assert 8 < hours < 24


async def test_a_mail_that_was_partly_sent_is_tried_again_for_those_that_wait() -> None:
    async with MailFake() as mailer:
        letter = mailer.compose(MESSAGE)
        await mailer.send(replace(letter, recipients=PartlySentError({"a@b.c": MailRefusedError("550 no")}).waiting))
        mailer.assert_nothing_sent()
    refused = {"ben@example.com": MailUnavailableError("450 busy"), "carl@example.com": MailRefusedError("550 gone")}
    async with MailFake() as mailer:
        mailer.fail_next(PartlySentError(refused))
        await mailer.enqueue(replace(MESSAGE, to=["anna@example.com", *refused]))
        await mailer.deliver_queued()
        (sent,) = mailer.sent
        assert sent.letter.recipients == ("ben@example.com",)
        assert sent.letter.message["Message-ID"] == mailer.queued[0].letter.message["Message-ID"]


async def test_a_mail_in_the_queue_can_be_encrypted() -> None:
    crypt = CryptFake()
    async with QueueFake() as queue, Mailer.from_url("memory://", sender="shop@example.com") as mailer:
        mailer.use_queue(queue, cipher=crypt)
        await mailer.enqueue(MESSAGE)
        stored = json.dumps(queue.pushed[0].payload)
        assert not any(word in stored for word in ("1234", "Hello", "anna"))
        (job,) = queue.list_pushed(SendMail)
        assert unpack_letter(job, cipher=crypt).message.get_content().strip() == "The code is 1234"
        with pytest.raises(MailError, match="no cipher"):
            unpack_letter(job, cipher=None)
        with pytest.raises(ValueError, match="not valid"):
            unpack_letter(job.model_copy(update={"mail_id": "other"}), cipher=crypt)
        crypt.rotate()
        await queue.run_pushed()
        await queue.assert_none_failed()


async def test_a_queue_needs_to_be_given_and_a_driver_that_it_can_name() -> None:
    async with Mailer.from_url("memory://", sender="shop@example.com") as mailer:
        with pytest.raises(MailError, match="no queue"):
            await mailer.enqueue(MESSAGE)
        async with QueueFake() as queue:
            mailer.use_queue(queue)
            with pytest.raises(MailError, match="a driver with a name"):
                await mailer.via("smtp://localhost").enqueue(MESSAGE)
            assert queue.pushed == []


async def test_the_assertions_of_the_fake_can_fail() -> None:
    async with MailFake(named=["bulk"]) as mailer:
        with pytest.raises(AssertionError, match="0 mails were sent"):
            mailer.assert_sent()
        await mailer.send(replace(MESSAGE, bcc="ben@example.com"))
        await mailer.via("bulk").enqueue(MESSAGE)
        assert mailer.assert_sent(to="ben@example.com", subject="Hello", via="default").bcc == ("ben@example.com",)
        assert mailer.assert_queued(via="bulk").text == "The code is 1234\n"
        for wrong in ({"to": "carl@example.com"}, {"subject": "Hell"}, {"via": "bulk"}):
            with pytest.raises(AssertionError, match=r"'Hello' to anna@example\.com"):
                mailer.assert_sent(**wrong)
        with pytest.raises(AssertionError, match="2 mails were sent or queued"):
            mailer.assert_nothing_sent()


async def test_usage_runs(capsys: pytest.CaptureFixture[str]) -> None:
    await importlib.import_module("kpi_kit.mail.usage").main()
    assert "sent 'Welcome, Ben <ben>' from a template" in capsys.readouterr().out
