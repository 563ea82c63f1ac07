"""The transports: mails sent to real SMTP servers and written to a folder."""

import asyncio
import stat
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path

import pytest
from kpi_auth.mails.transports import FolderTransport, Letter, NotSentError, SmtpTransport
from kpi_auth.settings.mail_urls import Folder, Security, SmtpServer, mail_sender, mail_target
from mail_support import Certificate, MailServer, certificate, serving

# Long enough for a busy machine, in tests that expect no timeout.
PATIENT = 30.0
USER = "user%40example.com:p%2Fw%3Ar%20d"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"))


def letter(*, to: str = "anna@example.com", mail_id: int = 7) -> Letter:
    message = EmailMessage()
    message["From"] = "KPI-One <no-reply@example.com>"
    message["To"] = to
    message["Subject"] = "A test"
    message["Message-ID"] = f"<{mail_id}@example.com>"
    message.set_content("A line.\n.\n.. and dots\n")
    return Letter(mail_id, "verify_email", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), message)


def smtp_transport(url: str, *, seconds: float = PATIENT) -> SmtpTransport:
    target = mail_target(url)
    assert isinstance(target, SmtpServer)
    return SmtpTransport(target, local_hostname="example.com", seconds=seconds)


async def expect_refusal(transport: SmtpTransport) -> NotSentError:
    with pytest.raises(NotSentError) as caught:
        await transport.send(letter())
    return caught.value


async def test_a_server_gets_the_mail_as_it_was_written() -> None:
    async with serving(MailServer()) as server:
        await smtp_transport(server.url).send(letter())
    assert server.recipients == ["anna@example.com"]
    assert server.messages[0]["Subject"] == "A test"
    assert server.messages[0].get_content().splitlines() == ["A line.", ".", ".. and dots"]


@pytest.mark.parametrize(
    ("server", "reason", "is_final"),
    [
        (MailServer(recipient_answer="550 5.1.1 no such mailbox"), "550 5.1.1 no such mailbox", True),
        (MailServer(recipient_answer="450 4.2.1 try again later"), "450 4.2.1 try again later", False),
        (MailServer(data_answer="554 5.7.1 it looks like spam"), "554 5.7.1 it looks like spam", True),
        (MailServer(data_answer="451 4.3.0 disk full"), "451 4.3.0 disk full", False),
    ],
)
async def test_a_refusal_is_final_if_its_status_is_permanent(server: MailServer, reason: str, is_final: bool) -> None:
    async with serving(server):
        error = await expect_refusal(smtp_transport(server.url))
    assert (error.reason, error.is_final) == (reason, is_final)


async def test_a_code_that_a_server_quotes_is_removed_from_the_reason() -> None:
    code = "h4Xy_" * 8
    async with serving(MailServer(data_answer=f"554 5.7.1 bad link https://example.com/v?code={code}")) as server:
        error = await expect_refusal(smtp_transport(server.url))
    assert error.reason == "554 5.7.1 bad link https://example.com/v?code=[...]"


async def test_a_connection_that_drops_after_the_data_is_a_failure() -> None:
    async with serving(MailServer(drops=True)) as server:
        error = await expect_refusal(smtp_transport(server.url))
    assert not error.is_final
    assert len(server.contents) == 1


async def test_a_server_that_hangs_is_abandoned() -> None:
    async with serving(MailServer(hangs=True)) as server:
        error = await expect_refusal(smtp_transport(server.url, seconds=0.2))
        assert server.reached.is_set()
    assert (error.reason, error.is_final) == ("the mail server did not respond in time", False)


async def test_a_server_that_never_completes_its_response_is_abandoned() -> None:
    """Each line arrives in time, but the response has no end."""

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                writer.write(b"220-still here\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with listener:
        error = await expect_refusal(
            smtp_transport(f"smtp://127.0.0.1:{listener.sockets[0].getsockname()[1]}", seconds=0.3)
        )
    assert not error.is_final


async def test_an_unreachable_server_is_not_a_final_failure() -> None:
    async with serving(MailServer()) as server:
        pass
    error = await expect_refusal(smtp_transport(server.url))
    assert not error.is_final


async def test_a_mail_that_was_accepted_is_sent_even_if_quit_fails() -> None:
    class AbortsOnQuit(MailServer):
        async def handle_QUIT(self, server: object, _session: object, _envelope: object) -> str:  # noqa: N802 its name
            server.transport.abort()  # type: ignore[attr-defined]
            return "221 Bye"

    async with serving(AbortsOnQuit()) as server:
        await smtp_transport(server.url).send(letter())
    assert len(server.contents) == 1


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_non_ascii_address_needs_a_server_with_smtputf8(is_known: bool) -> None:
    mail = letter()
    mail.message.replace_header("To", Address(username="änna", domain="example.com"))
    async with serving(MailServer(), enable_SMTPUTF8=is_known) as server:
        if is_known:
            await smtp_transport(server.url).send(mail)
        else:
            with pytest.raises(NotSentError) as caught:
                await smtp_transport(server.url).send(mail)
            assert caught.value.is_final
    assert server.recipients == (["änna@example.com"] if is_known else [])


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_credentials_go_over_tls(tls: Certificate, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.file))
    server = MailServer()
    implicit, starttls = (tls.context, None) if scheme == "smtps" else (None, tls.context)
    options = {"tls_context": starttls, "auth_require_tls": scheme == "smtp", "authenticator": server.authenticate}
    async with serving(server, implicit_tls=implicit, **options):
        await smtp_transport(f"{scheme}://{USER}@127.0.0.1:{server.port}").send(letter())
    assert [login[:2] for login in server.logins] == [(b"user@example.com", b"p/w:r d")]
    assert scheme == "smtps" or server.logins[0][2]
    assert len(server.contents) == 1


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_server_with_an_untrusted_certificate_gets_nothing(tls: Certificate, scheme: str) -> None:
    server = MailServer()
    implicit, starttls = (tls.context, None) if scheme == "smtps" else (None, tls.context)
    options = {"tls_context": starttls, "auth_require_tls": False, "authenticator": server.authenticate}
    async with serving(server, implicit_tls=implicit, **options):
        error = await expect_refusal(smtp_transport(f"{scheme}://{USER}@127.0.0.1:{server.port}"))
    assert "certificate" in error.reason.lower()
    assert not error.is_final
    assert server.logins == server.contents == []


async def test_a_server_that_offers_no_starttls_gets_no_credentials() -> None:
    """An attacker between the two could have removed the offer."""
    server = MailServer()
    async with serving(server, auth_require_tls=False, authenticator=server.authenticate):
        error = await expect_refusal(smtp_transport(f"smtp://{USER}@127.0.0.1:{server.port}"))
    assert not error.is_final
    assert [line.split()[0] for line in server.heard.splitlines()] == [b"EHLO"]
    assert server.logins == server.contents == []


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("smtp://mail.example.com", SmtpServer("mail.example.com", 587, Security.STARTTLS)),
        ("smtp://mail.example.com:2525/", SmtpServer("mail.example.com", 2525, Security.STARTTLS)),
        ("smtps://u:p@mail.example.com", SmtpServer("mail.example.com", 465, Security.TLS, "u", "p")),
        ("smtp://mailpit:1025?starttls=never", SmtpServer("mailpit", 1025, Security.PLAIN)),
        ("smtp://localhost:1025", SmtpServer("localhost", 1025, Security.PLAIN)),
        ("smtp://[::1]:1025", SmtpServer("::1", 1025, Security.PLAIN)),
        ("smtp://u:p@localhost", SmtpServer("localhost", 587, Security.STARTTLS, "u", "p")),
        ("file:///var/mails%20of%20mine", Folder(Path("/var/mails of mine"))),
    ],
)
def test_a_mail_url_is_parsed(url: str, target: Folder | SmtpServer) -> None:
    assert mail_target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "smtp://u:s3cret@mail.example.com?starttls=never",
        "smtp://u@mail.example.com",
        "smtp://:s3cret@mail.example.com",
        "smtp://u:s3cret#1@mail.example.com",
        "smtp://u:s3cret/1@mail.example.com",
        "smtp://mail.example.com:s3cret",
        "smtp://mail.example.com?starttls=maybe",
        "smtps://mail.example.com?starttls=never",
        "smtp://mail.example.com\r\nX: s3cret",
        "smtp://",
        "file://host/folder",
        "file:relative",
        "http://mail.example.com",
        "",
    ],
)
def test_an_unsafe_or_ambiguous_mail_url_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        mail_target(url)
    assert "s3cret" not in str(caught.value)


def test_a_representation_contains_no_password() -> None:
    assert "s3cret" not in repr(mail_target("smtps://u:s3cret@mail.example.com"))


@pytest.mark.parametrize("text", ["nobody", "", "A <a@example.com>\r\nBcc: b@example.com", "a@", "@example.com"])
def test_a_sender_is_one_address(text: str) -> None:
    with pytest.raises(ValueError, match="an address such as"):
        mail_sender(text)


async def test_a_folder_gets_one_private_file_for_each_mail(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "for it"
    for _ in range(2):
        await FolderTransport(folder).send(letter())
    assert [path.name for path in folder.iterdir()] == ["20260102T030405-verify_email-7.eml"]
    path = next(folder.iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert b"Subject: A test" in path.read_bytes()


async def test_a_folder_that_cannot_be_written_is_not_a_final_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotSentError) as caught:
        await FolderTransport(tmp_path / "file").send(letter())
    assert not caught.value.is_final
