"""Mails to real SMTP servers, also to those that refuse, hang or cannot be trusted."""

import asyncio
import base64
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from email.headerregistry import Address
from typing import Any

import pytest
from kpi_kit.errors import DriverUnavailableError
from kpi_kit.mail import NotSentError, PartlySentError
from kpi_kit.mail.drivers.smtp import SmtpTransport
from kpi_kit.mail.targets import Security, SmtpServer
from kpi_kit.mail.urls import read_target
from mail_letters import letter
from mail_servers import Certificate, MailServer, certificate, serving

# Long enough for a busy machine, in tests that expect no timeout.
PATIENT = 30.0
USER = "user%40example.com:p%2Fw%3Ar%20d"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"))


def smtp_transport(url: str, *, seconds: float = PATIENT) -> SmtpTransport:
    _, target = read_target(url)
    assert isinstance(target, SmtpServer)
    return SmtpTransport(target, seconds=seconds)


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
        error = await expect_refusal(smtp_transport(server.url, seconds=1))
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


class RefusesSome(MailServer):
    """Has a response of its own for some recipients."""

    answers: dict[str, str]

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802 its name
        if address in self.answers:
            return self.answers[address]
        return await super().handle_RCPT(server, session, envelope, address, options)


async def test_recipients_that_are_refused_do_not_keep_the_others_from_their_mail() -> None:
    server = RefusesSome()
    server.answers = {"gone@example.com": "550 5.1.1 no such mailbox", "busy@example.com": "450 4.2.1 try again later"}
    to = ("anna@example.com", *server.answers)
    async with serving(server):
        with pytest.raises(PartlySentError) as caught:
            await smtp_transport(server.url).send(replace(letter(), recipients=to))
    assert server.recipients == ["anna@example.com"]
    assert {address: error.is_final for address, error in caught.value.refused.items()} == {
        "gone@example.com": True,
        "busy@example.com": False,
    }
    assert caught.value.waiting == ("busy@example.com",)
    assert not isinstance(caught.value, DriverUnavailableError)


async def test_if_all_recipients_are_refused_another_attempt_may_reach_those_that_are_busy() -> None:
    server = RefusesSome()
    server.answers = {"gone@example.com": "550 5.1.1 no such mailbox", "busy@example.com": "450 4.2.1 try again later"}
    async with serving(server):
        with pytest.raises(DriverUnavailableError, match="450"):
            await smtp_transport(server.url).send(replace(letter(), recipients=tuple(server.answers)))
    assert server.contents == []


@asynccontextmanager
async def hanging_at(step: bytes) -> AsyncIterator[str]:
    """A server that responds to nothing any more once it is at this step; it offers no TLS."""

    ended = asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await respond(reader, writer)
        finally:
            writer.close()
            ended.set()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if step != b"CONNECT":
            writer.write(b"220 ready\r\n")
            has_content = False
            while not (line := await reader.readline()).startswith(step):
                if not has_content:
                    writer.write(b"354 go on\r\n" if line.startswith(b"DATA") else b"250 OK\r\n")
                has_content = has_content or line.startswith(b"DATA")
        with suppress(ConnectionError):
            await reader.read()

    listener = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with listener:
        yield f"smtp://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        await ended.wait()


@pytest.mark.parametrize("step", [b"CONNECT", b"EHLO", b"MAIL", b"RCPT", b"DATA", b".\r\n"])
async def test_a_server_that_hangs_at_any_step_is_abandoned(step: bytes) -> None:
    async with hanging_at(step) as url:
        error = await expect_refusal(smtp_transport(url, seconds=0.2))
    assert (error.reason, error.is_final) == ("the mail server did not respond in time", False)
    assert isinstance(error, DriverUnavailableError)


async def test_a_server_that_hangs_at_quit_has_the_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpi_kit.mail.drivers.smtp._QUIT_SECONDS", 0.1)

    class HangsAtQuit(MailServer):
        async def handle_QUIT(self, *_arguments: object) -> str:  # noqa: N802 its name
            await self.released.wait()
            return "221 Bye"

    async with serving(HangsAtQuit()) as server:
        await smtp_transport(server.url).send(letter())
        assert len(server.contents) == 1


async def test_a_password_that_a_server_quotes_is_hidden(tls: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.file))
    server = MailServer(recipient_answer="450 no: p/w:r d")
    async with serving(server, tls_context=tls.context, auth_require_tls=True, authenticator=server.authenticate):
        error = await expect_refusal(smtp_transport(f"smtp://{USER}@127.0.0.1:{server.port}"))
    assert error.reason == "450 no: [...]"


@pytest.mark.parametrize("offer", [b"PLAIN", b"LOGIN"])
async def test_a_password_that_a_server_quotes_encoded_is_in_no_text(offer: bytes) -> None:
    ended = asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            is_ehlo = line.startswith(b"EHLO")
            is_prompt = line.startswith(b"AUTH LOGIN")
            other = b"334 UGFzc3dvcmQ6" if is_prompt else b"500 5.5.1 unrecognized: " + line.strip()
            writer.write(b"250-x\r\n250 AUTH " + offer + b"\r\n" if is_ehlo else other + b"\r\n")
        writer.close()
        ended.set()

    listener = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        error = await expect_refusal(
            SmtpTransport(SmtpServer("127.0.0.1", port, Security.PLAIN, "shop", "hunter22"), seconds=PATIENT)
        )
        await ended.wait()
    assert error.reason == "500 SMTPAuthenticationError"
    shown = "".join(traceback.format_exception(error))
    for text in (b"hunter22", b"shop", b"\0shop\0hunter22"):
        assert base64.b64encode(text).decode() not in shown
