"""The way to a real NATS server: what arrives, in which order, and what is said when nothing can."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kpi_auth.outlets.channels import Acknowledged, OutletError
from kpi_auth.outlets.models import OutgoingEvent
from kpi_auth.outlets.nats_transport import WINDOW, NatsStream, NatsTransport
from kpi_auth.settings.nats_urls import nats_credentials, nats_servers
from kpi_shared.testing.nats_server import Broker, run_broker
from mail_servers import certificate
from nats.js.api import StreamConfig
from nats_identities import create_identities
from nats_support import STREAM, client, read_stream

STREAM_OF_EVENTS = NatsStream(STREAM, "kpi.events", keep_days=30)


def events(first: int, last: int, *, accounts: int = 1000) -> list[OutgoingEvent]:
    return [
        OutgoingEvent(seq, "session.ended", 1, seq % accounts, json.dumps({"seq": seq}).encode())
        for seq in range(first, last + 1)
    ]


def transport(broker: Broker, url: str | None = None) -> NatsTransport:
    return NatsTransport(nats_servers(url or broker.url), STREAM_OF_EVENTS)


async def deliver(broker: Broker, *pages: list[OutgoingEvent]) -> list[Acknowledged]:
    async with transport(broker).open() as channel:
        return [await channel.deliver(page) for page in pages]


async def seqs(broker: Broker) -> list[int]:
    async with client(broker) as stream:
        return [each.seq for each in await read_stream(stream)]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with run_broker(tmp_path) as broker:
        yield broker


async def test_messages_have_the_event_its_type_and_its_number_in_a_stream_that_was_created(broker: Broker) -> None:
    assert await deliver(broker, events(7, 9)) == [Acknowledged(3)]
    async with client(broker) as stream:
        info = await stream.stream_info(STREAM)
        received = await read_stream(stream)
    config = info.config
    assert (config.subjects, config.max_age, config.duplicate_window) == (["kpi.events.>"], 30 * 86400, 600)
    assert [each.seq for each in received] == [7, 8, 9]
    assert received[0].subject == "kpi.events.session.ended"
    assert received[0].headers["Nats-Msg-Id"] == "event-7"
    assert received[0].headers["Kpi-Event-Type"] == "session.ended"
    assert received[0].headers["Kpi-Schema-Version"] == "1"


async def test_a_stream_that_exists_is_used_as_it_is(broker: Broker) -> None:
    async with client(broker) as stream:
        await stream.add_stream(StreamConfig(name=STREAM, subjects=["kpi.>"], max_msgs=2))
    assert await deliver(broker, events(1, 5)) == [Acknowledged(5)]
    async with client(broker) as stream:
        assert (await stream.stream_info(STREAM)).state.messages == 2


async def test_what_is_sent_again_by_another_connection_is_stored_once(broker: Broker) -> None:
    await deliver(broker, events(1, 3 * WINDOW))
    assert await deliver(broker, events(WINDOW, 4 * WINDOW), events(4 * WINDOW + 1, 5 * WINDOW)) == [
        Acknowledged(3 * WINDOW + 1),
        Acknowledged(WINDOW),
    ]
    assert await seqs(broker) == list(range(1, 5 * WINDOW + 1))


async def test_others_who_write_to_the_stream_do_not_change_the_order_of_an_account(broker: Broker) -> None:
    async with transport(broker).open() as channel:
        assert await channel.deliver(events(1, 9, accounts=3)) == Acknowledged(9)
        async with client(broker) as stream:
            await stream.publish("kpi.events.other", b'{"seq": 99}')
        refused = await channel.deliver(events(10, 30, accounts=3))
        assert refused == Acknowledged(0, "something else has written to the stream")
    assert await deliver(broker, events(10, 30, accounts=3)) == [Acknowledged(21)]
    stored = await seqs(broker)
    assert sorted(stored) == [*range(1, 31), 99]
    for account in range(3):
        own = [seq for seq in stored if seq != 99 and seq % 3 == account]
        assert own == sorted(own)


async def test_a_process_that_was_frozen_writes_nothing_after_its_successor(broker: Broker) -> None:
    async with transport(broker).open() as frozen:
        await frozen.deliver(events(1, 5))
        await deliver(broker, events(6, 20))
        assert (await frozen.deliver(events(21, 30))).done == 0
    assert await seqs(broker) == list(range(1, 21))


@pytest.mark.parametrize("ends", ["kill", "suspend"])
async def test_a_server_that_ends_or_hangs_is_given_up(
    broker: Broker, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpi_auth.outlets.nats_transport._ACK_SECONDS", 0.5)
    async with transport(broker).open() as channel:
        await channel.deliver(events(1, 5))
        if ends == "kill":
            broker.kill()
            delivery = await channel.deliver(events(6, 9))
        else:
            with broker.suspend():
                delivery = await channel.deliver(events(6, 9))
    assert delivery.done == 0
    assert delivery.error == ("unexpected EOF" if ends == "kill" else "no answer in time")


async def test_a_server_that_is_down_is_an_error_with_a_reason(broker: Broker) -> None:
    broker.kill()
    with pytest.raises(OutletError, match=r"Connect call failed|Connection refused"):
        await deliver(broker, events(1, 1))


@pytest.mark.parametrize("url", ["nats://anna:wrong@{}", "nats://wrong@{}", "nats://{}"])
async def test_wrong_credentials_are_an_error_with_a_reason(tmp_path: Path, url: str) -> None:
    with run_broker(tmp_path, 'authorization { user: anna, password: "p@ss:w/rd" }') as broker:
        host = f"127.0.0.1:{broker.port}"
        with pytest.raises(OutletError, match=r"^Authorization Violation$"):
            await _open(broker, url.format(host))
        await _open(broker, f"nats://anna:p%40ss%3Aw%2Frd@{host}")


async def _open(broker: Broker, url: str) -> None:
    async with transport(broker, url).open():
        pass


async def test_missing_rights_are_an_error_with_a_reason(tmp_path: Path) -> None:
    rights = "permissions: { publish: [kpi.events.>], subscribe: [_INBOX.>] }"
    options = f"authorization {{ users: [ {{ user: anna, password: pw, {rights} }} ] }}"
    with run_broker(tmp_path, options) as broker:
        url = f"nats://anna:pw@127.0.0.1:{broker.port}"
        with pytest.raises(OutletError, match=r"permissions violation for publish to .*stream\.info"):
            await _open(broker, url)


async def test_a_server_without_jetstream_is_an_error_with_a_reason(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.options = "jetstream: disabled"
    broker.start()
    try:
        with pytest.raises(OutletError, match="JetStream does not answer"):
            await _open(broker, broker.url)
    finally:
        broker.kill()


async def test_tls_is_verified_and_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = certificate(tmp_path)
    options = f'tls {{ cert_file: "{tls.file}", key_file: "{tmp_path / "key.pem"}" }}'
    with run_broker(tmp_path, options) as broker:
        url = f"tls://127.0.0.1:{broker.port}"
        with pytest.raises(OutletError, match="the server's certificate: self-signed certificate"):
            await _open(broker, url)
        monkeypatch.setenv("SSL_CERT_FILE", str(tls.file))
        await _open(broker, url)


async def test_credentials_are_never_sent_unencrypted_to_an_address_with_tls(tmp_path: Path) -> None:
    """An attacker in between could say that there is no TLS."""
    heard = bytearray()

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.10.0","headers":true,"auth_required":true}\r\n')
        heard.extend(await reader.read())
        writer.close()

    server = await asyncio.start_server(pretend, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(OutletError, match="does not offer TLS"):
        await _open(Broker(tmp_path), f"tls://anna:secret@127.0.0.1:{port}")
    server.close()
    await server.wait_closed()
    assert heard == b""


async def test_delivery_can_be_cancelled_at_any_moment(broker: Broker) -> None:
    """The library swallows some cancellations: a service would not stop."""
    opened = transport(broker)

    async def work() -> None:
        while True:
            async with opened.open() as channel:
                for first in range(1, 60, 10):
                    await channel.deliver(events(first, first + 9))

    for round_ in range(150):
        task = asyncio.create_task(work())
        await asyncio.sleep(round_ % 15 / 1000)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=4)
        assert done
        assert task.cancelled()


async def test_a_credentials_file_proves_who_auth_is(tmp_path: Path) -> None:
    identities = create_identities()
    with run_broker(tmp_path, identities.options) as broker:
        servers = nats_servers(broker.url)
        async with NatsTransport(servers, STREAM_OF_EVENTS, nats_credentials(identities.credentials)).open() as channel:
            assert await channel.deliver(events(1, 3)) == Acknowledged(3)
        for credentials in (None, nats_credentials(identities.others)):
            with pytest.raises(OutletError, match=r"^Authorization Violation$"):
                async with NatsTransport(servers, STREAM_OF_EVENTS, credentials).open():
                    pass
