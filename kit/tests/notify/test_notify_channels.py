"""What each channel sends, and which URLs choose it."""

import base64
import json
from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import httpx
import pytest
from kpi_kit.errors import UrlError
from kpi_kit.notify import (
    ChannelUnavailableError,
    DeliveryRefusedError,
    InvalidContentError,
    NoContentError,
    Notification,
    Notifier,
    NotifierNotOpenError,
    NotifyFake,
    Outcome,
    Recipient,
    TextContent,
    UnknownChannelError,
    escape_slack,
)
from notify_servers import InvoicePaid, Service, log_everything, run_service

PAID = InvoicePaid(number=7, channels=["it"])


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with run_service() as service:
        yield service


async def send(url: str, address: str = "") -> tuple[Outcome, Exception | None]:
    async with Notifier.from_urls({"it": url}, seconds=5) as notifier:
        [receipt] = await notifier.send(PAID, Recipient("42", {"it": address}))
        return receipt.outcome, receipt.error


async def test_twilio_gets_a_form_with_the_account(service: Service) -> None:
    service.status = "201 Created"
    url = f"twilio+http://AC000:to%2Fken@127.0.0.1:{service.port}?from=%2B15550199"
    assert (await send(url, "+15550100"))[0] is Outcome.SENT
    [request] = service.accepted
    assert request.line == "POST /2010-04-01/Accounts/AC000/Messages.json HTTP/1.1"
    assert request.headers["authorization"] == f"Basic {base64.b64encode(b'AC000:to/ken').decode()}"
    form = parse_qs(request.body.decode())
    assert form == {"From": ["+15550199"], "To": ["+15550100"], "Body": ["Invoice 7 is paid"]}


@pytest.mark.parametrize("number", ["15550100", "+1555010x", "+0155501000", "+15550100&Body=x", "+15550100,+15550101"])
async def test_a_number_has_the_international_form(service: Service, number: str) -> None:
    url = f"twilio+http://AC000:token@127.0.0.1:{service.port}?from=%2B15550199"
    _, error = await send(url, number)
    assert type(error) is DeliveryRefusedError
    assert service.requests == []


async def test_the_reason_of_a_service_is_a_number_or_a_word(service: Service) -> None:
    service.status, service.body = "400 Bad Request", b'{"code": 21211, "message": "+15550100 is not valid"}'
    _, error = await send(f"twilio+http://AC000:token@127.0.0.1:{service.port}?from=%2B15550199", "+15550100")
    assert str(error) == "the service responded 400 Bad Request (error 21211)"
    service.status, service.body = "410 Gone", b"channel_is_archived"
    _, error = await send(f"slack+http://127.0.0.1:{service.port}/services/T/B/token")
    assert str(error) == "the service responded 410 Gone (channel_is_archived)"
    service.body = b"<html>a token</html>"
    _, error = await send(f"slack+http://127.0.0.1:{service.port}/services/T/B/token")
    assert str(error) == "the service responded 410 Gone"


async def test_slack_keeps_the_path_and_follows_no_redirect(service: Service) -> None:
    assert (await send(f"slack+http://127.0.0.1:{service.port}/services/T0/B0/aBcD"))[0] is Outcome.SENT
    assert service.accepted[0].path == "/services/T0/B0/aBcD"
    assert json.loads(service.accepted[0].body) == {"text": "*Thank you*\nInvoice 7 is paid"}
    async with run_service() as other:
        service.status, service.headers = "302 Found", (f"Location: http://127.0.0.1:{other.port}/",)
        _, error = await send(f"slack+http://127.0.0.1:{service.port}/services/T0/B0/aBcD")
        assert type(error) is DeliveryRefusedError
        assert other.requests == []


def test_what_users_wrote_mentions_no_channel_of_slack() -> None:
    assert escape_slack("<!everyone> & <https://a|b>") == "&lt;!everyone&gt; &amp; &lt;https://a|b&gt;"


async def test_apprise_follows_no_redirect_and_takes_the_address_of_the_recipient(service: Service) -> None:
    url = f"apprise+json://127.0.0.1:{service.port}/to/{{address}}"
    assert (await send(url, "anna@example.com"))[0] is Outcome.SENT
    assert service.accepted[0].path.startswith("/to/anna")
    async with run_service() as other:
        service.status, service.headers = "307 Temporary Redirect", (f"Location: http://127.0.0.1:{other.port}/",)
        _, error = await send(url, "anna@example.com")
        assert type(error) is ChannelUnavailableError
        assert other.requests == []


@pytest.mark.parametrize("address", ["a,b", "a b", "../a", "a\n", "a" * 201])
async def test_apprise_gets_one_address(service: Service, address: str) -> None:
    _, error = await send(f"apprise+json://127.0.0.1:{service.port}/to/{{address}}", address)
    assert type(error) is DeliveryRefusedError
    assert service.requests == []


async def test_other_calls_of_the_same_libraries_are_logged_as_before(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    log_everything(caplog)
    await send(f"slack+http://127.0.0.1:{service.port}/services/T0/B0/secret-token")
    assert "secret-token" not in caplog.text
    async with httpx.AsyncClient() as client:
        await client.post(f"http://127.0.0.1:{service.port}/mine")
    assert "/mine" in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "salck://hooks.slack.com/services/secret-token",
        "slack://hooks.slack.com",
        "slack://user:secret-token@hooks.slack.com/services/T",
        "slack://[v1.x]/secret-token",
        "slack://hooks.slack.com/secret-token\x7f",
        "slack://hooks.slack.com/secret-token" + "y" * 70_000,
        "twilio://AC:secret-token@host/%0d%0aX?from=1",
        "twilio://AC000@api.twilio.com?from=secret-token",
        "twilio://AC000:secret-token@api.twilio.com",
        "apprise+nothing://secret-token",
        "apprise+json://a b/secret-token",
        "memory://pigeons",
        "https://hooks.slack.com/services/secret-token",
    ],
)
def test_a_url_of_another_form_is_refused_and_not_quoted(url: str, caplog: pytest.LogCaptureFixture) -> None:
    log_everything(caplog)
    with pytest.raises(UrlError) as caught:
        Notifier.from_urls({"it": url})
    assert "secret-token" not in f"{caught.value} {caplog.text}"


def test_a_name_of_a_channel_is_one_word() -> None:
    for name in ("", "Slack", "a b", "1st", "a" * 41):
        with pytest.raises(UnknownChannelError):
            Notifier.from_urls({name: "memory://sms"})


async def test_a_channel_that_is_not_there_means_that_nothing_was_sent() -> None:
    async with NotifyFake() as notifier:
        with pytest.raises(UnknownChannelError, match="pigeon"):
            await notifier.send(InvoicePaid(number=7, channels=["text", "pigeon"]), Recipient("42"))
        with pytest.raises(NoContentError, match="Silent"):
            await notifier.send(Silent(), Recipient("42"))
        notifier.assert_nothing_sent()
        assert notifier.deliveries == []
    with pytest.raises(NotifierNotOpenError):
        await notifier.send(PAID, Recipient("42"))


class Silent(Notification):
    def via(self, _recipient: Recipient) -> list[str]:
        return ["database", "slack"]


class Greeting(Notification, kind="hello"):
    def via(self, recipient: Recipient) -> list[str]:
        return ["mail", "sms"] if recipient.id is None else ["mail", "sms", "slack", "database"]

    def to_text(self, _recipient: Recipient) -> TextContent:
        return TextContent(text="Hello")


async def test_the_fake_shows_what_was_sent_to_whom() -> None:
    anna = Recipient("42", {"mail": "anna@example.com"})
    async with NotifyFake() as notifier:
        await notifier.send(Greeting(), [anna, notifier.route("sms", "+15550100").route("slack")])
        sent = notifier.assert_sent_to(anna, Greeting)
        assert sent.channels == ["mail", "slack", "database"]
        assert notifier.assert_sent_to("42", Greeting, channel="database") == sent
        assert notifier.assert_sent_to("+15550100", Greeting).channels == ["sms"]
        notifier.assert_not_sent_to(anna, InvoicePaid)
        assert {delivery.kind for delivery in notifier.deliveries} == {"hello"}
        for wrong in (
            lambda: notifier.assert_sent_to(anna, InvoicePaid),
            lambda: notifier.assert_sent_to(anna, Greeting, channel="sms"),
            lambda: notifier.assert_sent_to("43", Greeting),
            lambda: notifier.assert_not_sent_to("42", Greeting),
            notifier.assert_nothing_sent,
        ):
            with pytest.raises(AssertionError):
                wrong()


async def test_what_the_fake_could_not_send_was_not_sent() -> None:
    async with NotifyFake() as notifier:
        notifier.fail("text", ChannelUnavailableError("the test wants it"))
        await notifier.send(InvoicePaid(number=7, channels=["text"]), Recipient("42"))
        notifier.assert_not_sent_to("42", InvoicePaid)
        with pytest.raises(AssertionError):
            notifier.assert_sent_to("42", InvoicePaid)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 1601])
async def test_what_cannot_be_sent_is_refused_before_anything_is(text: str) -> None:
    class Said(Notification):
        def via(self, _recipient: Recipient) -> list[str]:
            return ["hooks", "sms"]

        def to_text(self, _recipient: Recipient) -> TextContent:
            return TextContent(text=text)

    async with Notifier.from_urls({"hooks": "memory://text", "sms": "memory://sms"}) as notifier:
        with pytest.raises(InvalidContentError) as caught:
            await notifier.send(Said(), Recipient("42", {"hooks": "x", "sms": "+15550002"}))
    assert text not in str(caught.value)
