"""One request to a receiver: where the connection goes, which response is a success, and how much of it is read."""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kpi_auth.settings import AuthSettings
from kpi_auth.webhooks.destinations import Destinations
from kpi_auth.webhooks.transports import HttpTransport, NotDeliveredError, Timeouts
from kpi_shared.testing.process import free_port
from mail_servers import certificate
from webhook_support import (
    Answer,
    FixedResolver,
    Receiver,
    dribble,
    endless_head,
    hang,
    huge,
    receiving,
    reset,
    status,
)

BODY = b'{"type":"account.renamed"}'
FIELDS = {"webhook-id": "evt_1"}


class Rebinding:
    """A name server that gives another address at each look-up."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)

    async def __call__(self, _host: str) -> Sequence[str]:
        return self.answers.pop(0)


def transport(settings: AuthSettings, resolver: Any = None, *, total: float = 30, **changes: Any) -> HttpTransport:
    changes = {"webhook_allowed_networks": ("127.0.0.0/8",), "webhook_allow_http": True} | changes
    destinations = Destinations(settings.model_copy(update=changes), resolver or FixedResolver(["127.0.0.1"]))
    return HttpTransport(destinations, Timeouts(connect=5, total=total))


async def send(through: HttpTransport, url: str) -> None:
    try:
        await through.send(url, BODY, FIELDS)
    finally:
        await through.close()


async def reason_of(through: HttpTransport, url: str) -> str:
    with pytest.raises(NotDeliveredError) as failure:
        await send(through, url)
    return failure.value.reason


async def test_the_receiver_gets_the_event_under_the_name_of_its_host(settings: AuthSettings) -> None:
    async with receiving(Receiver()) as receiver:
        await send(transport(settings), f"http://hooks.example.com:{receiver.port}/a/b?c=d%20e")
    (message,) = receiver.messages
    assert message.target == "/a/b?c=d%20e"
    assert message.body == BODY
    expected = {
        "host": f"hooks.example.com:{receiver.port}",
        "content-type": "application/json",
        "webhook-id": "evt_1",
        "user-agent": "KPI-One-Webhooks/0.1.0",
    }
    assert expected.items() <= message.fields.items()
    assert not {"authorization", "cookie"} & message.fields.keys()


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
async def test_each_2xx_is_a_success(settings: AuthSettings, code: int) -> None:
    async with receiving(Receiver(status(code))) as receiver:
        await send(transport(settings), receiver.url)
    assert len(receiver.messages) == 1


@pytest.mark.parametrize("code", [300, 304, 400, 401, 404, 429, 500, 503, 599])
async def test_any_other_status_is_a_failure(settings: AuthSettings, code: int) -> None:
    async with receiving(Receiver(status(code))) as receiver:
        assert str(code) in await reason_of(transport(settings), receiver.url)


async def test_a_redirect_is_not_followed(settings: AuthSettings) -> None:
    async with receiving(Receiver()) as inside:
        for code in (301, 302, 303, 307, 308):
            async with receiving(Receiver(status(code, f"Location: {inside.url}"))) as receiver:
                reason = await reason_of(transport(settings), receiver.url)
            assert reason == f"{code}: redirects are not followed"
    assert inside.messages == []


async def test_410_says_that_no_more_is_wanted(settings: AuthSettings) -> None:
    async with receiving(Receiver(status(410))) as receiver:
        with pytest.raises(NotDeliveredError) as failure:
            await send(transport(settings), receiver.url)
    assert failure.value.is_refusal


@pytest.mark.parametrize("answer", [huge, dribble])
async def test_a_success_does_not_wait_for_the_end_of_a_body(settings: AuthSettings, answer: Answer) -> None:
    """Neither of these bodies ends: the attempt must, long before its time is over."""
    async with receiving(Receiver(answer)) as receiver:
        await send(transport(settings, total=600), receiver.url)


@pytest.mark.parametrize(("answer", "expected"), [(reset, "RemoteProtocol|ReadError"), (endless_head, "Protocol")])
async def test_a_broken_response_is_a_failure(settings: AuthSettings, answer: Answer, expected: str) -> None:
    async with receiving(Receiver(answer)) as receiver:
        reason = await reason_of(transport(settings), receiver.url)
    assert any(part in reason for part in expected.split("|"))


async def test_a_receiver_that_hangs_is_given_up(settings: AuthSettings) -> None:
    async with receiving(Receiver(hang)) as receiver:
        assert await reason_of(transport(settings, total=0.2), receiver.url) == "No response within 0.2 seconds"


async def test_a_closed_port_is_a_failure_and_the_next_address_is_tried(settings: AuthSettings) -> None:
    assert "Connect" in await reason_of(transport(settings), f"http://hooks.example.com:{free_port()}/")
    async with receiving(Receiver()) as receiver:
        # Nothing listens at the first of these.
        await send(transport(settings, FixedResolver(["127.0.0.9", "127.0.0.1"])), receiver.url)
    assert len(receiver.messages) == 1


async def test_a_second_address_is_not_tried_after_a_response(settings: AuthSettings) -> None:
    async with receiving(Receiver(reset)) as receiver:
        await reason_of(transport(settings, FixedResolver(["127.0.0.1", "127.0.0.1", "127.0.0.2"])), receiver.url)
    assert len(receiver.messages) == 1


async def test_a_name_that_is_pointed_inside_later_is_refused_then(settings: AuthSettings) -> None:
    """DNS rebinding: the address is public at creation, and inside at a delivery."""
    name_server = Rebinding(["93.184.215.14"], ["127.0.0.1"])
    async with receiving(Receiver()) as receiver:
        changes: dict[str, Any] = {"webhook_allowed_networks": (), "webhook_allow_http": True}
        destinations = Destinations(settings.model_copy(update=changes), name_server)
        url = f"http://rebinding.example.com:{receiver.port}/"
        assert await destinations.find(url, seconds=5)
        assert "an address that is not public" in await reason_of(HttpTransport(destinations), url)
    assert receiver.messages == []


async def test_the_connection_goes_to_the_address_that_was_checked(settings: AuthSettings) -> None:
    """DNS rebinding within one delivery: a second look-up would fail here, and there is none."""
    name_server = Rebinding(["127.0.0.1"])
    async with receiving(Receiver()) as receiver:
        # No name server of the system knows this name either.
        await send(transport(settings, name_server), f"http://checked.invalid:{receiver.port}/")
    assert name_server.answers == []
    assert len(receiver.messages) == 1


async def test_proxies_of_the_environment_are_not_used(settings: AuthSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving(Receiver()) as proxy, receiving(Receiver()) as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await send(transport(settings), receiver.url)
    assert (len(proxy.messages), len(receiver.messages)) == (0, 1)


@asynccontextmanager
async def trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A receiver with TLS whose certificate is for 127.0.0.1, and trusted."""
    made = certificate(folder)
    context = ssl.create_default_context(cafile=str(made.file))
    monkeypatch.setattr(HttpTransport, "_build_context", lambda _self: context)
    async with receiving(Receiver(), tls=made.context) as receiver:
        yield receiver


async def test_the_certificate_is_checked_for_the_host_of_the_url(
    settings: AuthSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trusted(tmp_path, monkeypatch) as receiver:
        await send(transport(settings), f"https://127.0.0.1:{receiver.port}/")
        # It goes to the same address, for which the certificate is, but under another name.
        reason = await reason_of(transport(settings), f"https://hooks.example.com:{receiver.port}/")
    assert "certificate" in reason.lower()
    assert len(receiver.messages) == 1


@pytest.mark.parametrize("host", ["xn--strae-oqa.de", "xn--ls8h.la"])
async def test_the_certificate_is_asked_for_the_internationalised_name_itself(
    settings: AuthSettings, tmp_path: Path, host: str
) -> None:
    names: list[str | None] = []
    tls = certificate(tmp_path).context
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    async with receiving(Receiver(), tls=tls) as receiver:
        await reason_of(transport(settings), f"https://{host}:{receiver.port}/")
    assert names == [host]


async def test_a_certificate_of_an_unknown_authority_is_refused(settings: AuthSettings, tmp_path: Path) -> None:
    async with receiving(Receiver(), tls=certificate(tmp_path).context) as receiver:
        assert "certificate" in (await reason_of(transport(settings), f"https://127.0.0.1:{receiver.port}/")).lower()
    assert receiver.messages == []


async def test_a_host_that_cannot_be_resolved_is_a_failure(settings: AuthSettings) -> None:
    async def fail(_host: str) -> list[str]:
        raise OSError("no such host")

    async def never(_host: str) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    assert "cannot be resolved" in await reason_of(transport(settings, fail), "http://hooks.example.com/")
    late = await reason_of(transport(settings, never, total=0.05), "http://hooks.example.com/")
    assert "in time" in late or "within" in late
