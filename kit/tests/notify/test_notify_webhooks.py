"""Webhooks: signed for their receiver, sent to public addresses alone, and to no other one than was named."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from unittest.mock import Mock

import pytest
from kpi_kit.destinations import MAX_URL
from kpi_kit.errors import UrlError
from kpi_kit.notify import ChannelUnavailableError, DeliveryRefusedError, Notifier, Outcome, Recipient
from kpi_kit.signatures import sign
from notify_servers import SECRET, InvoicePaid, Service, run_service

PAID = InvoicePaid(number=7, channels=["hooks"])
# It allows this machine, so that there is a server to send to.
OPEN = f"webhook+http://:{SECRET}@?allow=127.0.0.0/8"
# As it would be in production.
CLOSED = f"webhook://:{SECRET}@"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with run_service() as service:
        yield service


async def send(url: str, address: str = "") -> tuple[Outcome, Exception | None]:
    async with Notifier.from_urls({"hooks": url}, seconds=5) as notifier:
        [receipt] = await notifier.send(PAID, Recipient("42", {"hooks": address} if address else {}))
        return receipt.outcome, receipt.error


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of Standard Webhooks 1.0, which its libraries test with, too."""
    signed = sign(
        b'{"test": 2432232314}', message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, secrets=[SECRET]
    )
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_receiver_can_verify_it(service: Service) -> None:
    assert (await send(OPEN, f"http://127.0.0.1:{service.port}/hooks?key=1"))[0] is Outcome.SENT
    [request] = service.accepted
    assert request.path == "/hooks?key=1"
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60
    event = json.loads(request.body)
    assert (event["type"], event["data"]["number"]) == ("invoice-paid", 7)
    assert datetime.fromisoformat(event["timestamp"]).utcoffset() is not None


async def test_all_attempts_have_the_same_id(service: Service) -> None:
    address = f"http://127.0.0.1:{service.port}/"
    async with Notifier.from_urls({"hooks": OPEN}) as notifier:
        service.status = "500 No"
        [failed] = await notifier.send(PAID, Recipient("42", {"hooks": address}))
        service.status = "204 No Content"
        service.body = b""
        await notifier.retry([failed])
    assert len({request.headers["webhook-id"] for request in service.requests}) == 1
    assert len(service.requests) == 2


async def test_a_status_counts_though_the_body_does_not_come(service: Service) -> None:
    """A message that was accepted must not be sent again, which may cost money."""
    service.keeps_body = True
    async with Notifier.from_urls({"hooks": OPEN}, seconds=1) as notifier:
        [receipt] = await notifier.send(PAID, Recipient("42", {"hooks": f"http://127.0.0.1:{service.port}/"}))
    assert receipt.outcome is Outcome.SENT


async def test_no_cookie_of_one_receiver_goes_to_another(service: Service) -> None:
    service.headers = ("Set-Cookie: session=one; Path=/",)
    async with Notifier.from_urls({"hooks": OPEN}) as notifier:
        for name in ("one", "another"):
            await notifier.send(PAID, Recipient("42", {"hooks": f"http://127.0.0.1:{service.port}/{name}"}))
    assert [request.headers.get("cookie") for request in service.accepted] == [None, None]


async def test_redirects_are_not_followed(service: Service) -> None:
    async with run_service() as other:
        service.status, service.headers = "307 Temporary Redirect", (f"Location: http://127.0.0.1:{other.port}/",)
        outcome, error = await send(OPEN, f"http://127.0.0.1:{service.port}/")
        assert (outcome, type(error)) == (Outcome.FAILED, ChannelUnavailableError)
        assert other.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "http://8.8.8.8/",
        "https://user:password@8.8.8.8/",
        "https://8.8.8.8/ HTTP/1.1\r\nX-Injected: 1",
        "https://8.8.8.8/" + "a" * MAX_URL,
    ],
)
async def test_what_is_not_public_is_refused(address: str) -> None:
    """All the spellings of such addresses are in test_destinations.py."""
    outcome, error = await send(CLOSED, address)
    assert outcome is Outcome.FAILED
    assert type(error) is DeliveryRefusedError
    assert address not in str(error)


async def test_a_network_that_is_allowed_is_no_other_one(service: Service) -> None:
    other = OPEN.replace("127.0.0.0/8", "10.0.0.0/8")
    _, error = await send(other, f"http://127.0.0.1:{service.port}/")
    assert type(error) is DeliveryRefusedError
    assert service.requests == []


async def test_a_name_is_resolved_once_and_its_addresses_are_tried(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look-up could find another address."""
    found = []

    def look_up(host: str) -> list[str]:
        found.append(host)
        # Nothing listens at the first of these.
        return ["127.0.0.9", "127.0.0.1"]

    monkeypatch.setattr("kpi_kit.resolver._look_up", look_up)
    outcome, _ = await send(OPEN, f"http://receiver.example.com:{service.port}/hooks")
    assert (outcome, found) == (Outcome.SENT, ["receiver.example.com"])
    assert service.accepted[0].headers["host"] == f"receiver.example.com:{service.port}"


async def test_one_address_that_is_not_public_refuses_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpi_kit.resolver._look_up", lambda _host: ["8.8.8.8", "10.0.0.1"])
    _, error = await send(CLOSED, "https://receiver.example.com/")
    assert type(error) is DeliveryRefusedError


async def test_a_host_that_cannot_be_resolved_may_pass_and_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpi_kit.resolver._look_up", Mock(side_effect=OSError("no such host: receiver.example.com")))
    _, error = await send(CLOSED, "https://receiver.example.com/")
    assert type(error) is ChannelUnavailableError
    assert str(error) == "the host cannot be resolved"


@pytest.mark.parametrize("path", ["/fixed", "/users/anna@127.0.0.1:1/%20"])
async def test_a_channel_with_a_receiver_needs_no_address(service: Service, path: str) -> None:
    """What stands after a @ in the path is no host."""
    url = f"webhook+http://:{SECRET}@127.0.0.1:{service.port}{path}?allow=127.0.0.1/32"
    assert (await send(url))[0] is Outcome.SENT
    assert service.accepted[0].path == path


@pytest.mark.parametrize(
    "url",
    [
        "webhook://receiver.example.com/",
        "webhook://:whsec_short@receiver.example.com/",
        "webhook://:not-base64!@receiver.example.com/",
        f"webhook://name:{SECRET}@receiver.example.com/",
        f"webhook://:{SECRET}@/path",
        f"webhook://:{SECRET}@:8443",
        f'webhook://:{SECRET}@receiver.example.com/h"x',
        f"webhook://:{SECRET}@receiver.example.com/?allow=everything",
        f"webhook://:{SECRET}@receiver.example.com/?other=1",
    ],
)
def test_a_url_of_another_form_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(UrlError) as caught:
        Notifier.from_urls({"hooks": url})
    assert SECRET not in str(caught.value)
