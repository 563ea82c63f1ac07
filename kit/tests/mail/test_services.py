"""Mail services that refuse, hang or answer without end: SES, SendGrid and Mailgun."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from kpi_kit.errors import DriverUnavailableError
from kpi_kit.mail import MailRefusedError, MailUnavailableError, NotSentError
from kpi_kit.mail.contract import Transport
from kpi_kit.mail.drivers.mailgun import MailgunTransport
from kpi_kit.mail.drivers.sendgrid import SendGridTransport, to_parts
from kpi_kit.mail.drivers.ses import SesTransport
from kpi_kit.mail.targets import ApiAccount, SesAccount
from mail_letters import letter
from mail_receivers import KEY, Api, running_api

# Long enough for a busy machine, in tests that expect no timeout.
PATIENT = 30.0


def build(kind: str, address: str, *, seconds: float = PATIENT) -> Transport:
    if kind == "ses":
        account = SesAccount("us-east-1", "testing", KEY, endpoint=f"http://{address}")
        return SesTransport(account, seconds=seconds, threads=2)
    account = ApiAccount(f"http://{address}", KEY, "mg.example.com")
    return {"sendgrid": SendGridTransport, "mailgun": MailgunTransport}[kind](account, seconds=seconds)


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as found:
        yield found


async def expect_refusal(transport: Transport) -> NotSentError:
    try:
        with pytest.raises(NotSentError) as caught:
            await transport.send(letter())
    finally:
        await transport.close()
    return caught.value


@pytest.mark.parametrize("kind", ["sendgrid", "mailgun"])
@pytest.mark.parametrize(
    ("status", "is_final"),
    [
        (400, True),
        (413, True),
        (422, True),
        (301, False),
        (401, False),
        (403, False),
        (429, False),
        (500, False),
        (503, False),
    ],
)
async def test_only_a_refusal_of_the_message_is_final(api: Api, kind: str, status: int, is_final: bool) -> None:
    api.status, api.answer = status, '{"errors": [{"message": "no, since \\u0007 ..."}]}\n'
    error = await expect_refusal(build(kind, api.url))
    assert error.is_final == is_final
    assert isinstance(error, DriverUnavailableError) != is_final
    assert error.reason.startswith(f"{status} ")
    assert error.reason.isprintable()


@pytest.mark.parametrize(
    ("code", "text", "status", "is_final"),
    [
        ("MessageRejected", "Email contains a virus", 400, True),
        ("BadRequestException", "Missing final '@domain'", 400, True),
        ("MessageRejected", "Email address is not verified. The following ...", 400, False),
        ("TooManyRequestsException", "Maximum sending rate exceeded.", 429, False),
        ("AccountSuspendedException", "suspended", 400, False),
        ("InternalServiceErrorException", "", 500, False),
    ],
)
async def test_ses_refuses(api: Api, code: str, text: str, status: int, is_final: bool) -> None:
    api.status, api.answer = status, f'{{"__type": "{code}", "message": "{text}"}}'
    error = await expect_refusal(build("ses", api.url))
    assert (error.is_final, error.reason) == (is_final, f"{code.removesuffix('Exception')}: {text}")
    # A library that tries again by itself could send a mail twice without a word.
    assert len(api.calls) == 1


@pytest.mark.parametrize("kind", ["ses", "sendgrid", "mailgun"])
async def test_no_key_and_no_content_is_in_an_error_or_a_log(
    api: Api, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    code = "h4Xy_" * 8
    text = f"key {KEY} is wrong, link https://example.com/?code={code}, address anna@example.com"
    api.status, api.answer = 401, f'{{"__type": "AccessDeniedException", "message": "{text}"}}'
    error = await expect_refusal(build(kind, api.url))
    shown = str(error) + repr(error) + caplog.text
    assert "[...]" in shown
    assert KEY not in shown
    assert code not in shown
    assert "A line." not in shown


@asynccontextmanager
async def answering(write: Callable[[asyncio.StreamWriter], Any]) -> AsyncIterator[str]:
    """A server that lets ``write`` answer each connection until the end of the block."""
    over, connections = asyncio.Event(), asyncio.Queue[None]()

    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering = asyncio.create_task(write(writer))
        await over.wait()
        answering.cancel()
        await asyncio.wait([answering])
        writer.close()
        connections.put_nowait(None)

    listener = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with listener:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        over.set()
        await connections.get()


async def stay_silent(_writer: asyncio.StreamWriter) -> None:
    pass


async def drip_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 202 Accepted\r\n")
    while True:
        writer.write(b"X-More: x\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", ["ses", "sendgrid", "mailgun"])
@pytest.mark.parametrize("write", [stay_silent, drip_headers, drip_body])
async def test_a_service_that_hangs_is_abandoned(kind: str, write: Callable[[asyncio.StreamWriter], Any]) -> None:
    async with answering(write) as address:
        error = await expect_refusal(build(kind, address, seconds=0.3))
    assert error.reason == "the mail service did not respond in time"
    assert isinstance(error, MailUnavailableError)


@pytest.mark.parametrize("kind", ["ses", "sendgrid", "mailgun"])
async def test_a_service_that_was_away_is_used_again(kind: str, api: Api) -> None:
    """Recovery needs no restart: the same transport fails, and then sends."""
    api.status, api.answer = 503, "{}"
    transport = build(kind, api.url)
    with pytest.raises(DriverUnavailableError):
        await transport.send(letter())
    api.status = 200
    await transport.send(letter())
    await transport.close()
    assert len(api.calls) == 2


@pytest.mark.parametrize("kind", ["ses", "sendgrid", "mailgun"])
async def test_an_unreachable_service_may_be_reached_later(kind: str) -> None:
    with running_api() as gone:
        pass
    error = await expect_refusal(build(kind, gone.url))
    assert not error.is_final
    assert "Connect" in error.reason


async def test_more_mails_than_threads_wait_for_their_turn(api: Api) -> None:
    api.status, api.answer = 200, '{"MessageId": "x"}'
    transport = build("ses", api.url)
    await asyncio.gather(*(transport.send(letter(mail_id=number)) for number in range(12)))
    await transport.close()
    assert len(api.calls) == 12


async def test_ses_gets_the_name_of_its_configuration_set(api: Api) -> None:
    api.status, api.answer = 200, '{"MessageId": "x"}'
    account = SesAccount("us-east-1", "testing", KEY, endpoint=f"http://{api.url}", configuration_set="shop")
    transport = SesTransport(account)
    await transport.send(letter())
    await transport.close()
    assert b'"ConfigurationSetName": "shop"' in api.calls[0][2]


def test_sendgrid_shows_no_further_recipient_what_the_others_are() -> None:
    found = letter()
    found.message["Cc"] = "carl@example.com"
    parts = to_parts(type(found)(7, "x", found.created_at, found.message, ("carl@example.com", "dora@example.com")))
    assert parts["personalizations"] == [
        {"to": [{"email": "carl@example.com"}]},
        {"to": [{"email": "dora@example.com"}]},
    ]


async def test_a_refused_key_is_an_operators_matter(api: Api) -> None:
    api.status = 401
    error = await expect_refusal(build("sendgrid", api.url))
    assert not isinstance(error, MailRefusedError)
