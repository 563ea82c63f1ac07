"""What every channel keeps, that of the fake too."""

from collections.abc import AsyncIterator

import pytest
from kpi_kit.notify import ChannelUnavailableError, Outcome
from kpi_kit.notify.drivers.memory import MemoryChannel
from notify_rigs import RIGS, STATES, Rig
from notify_servers import InvoicePaid, log_everything
from opening_support import open_anew


@pytest.fixture(params=RIGS)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with RIGS[request.param]() as found:
        yield found


def paid(rig: Rig, number: int) -> InvoicePaid:
    return InvoicePaid(number=number, channels=[rig.channel])


async def test_a_notification_arrives_once(rig: Rig) -> None:
    [receipt] = await rig.notifier.send(paid(rig, 1), rig.recipient)
    assert (receipt.outcome, receipt.error, receipt.delivery.channel) == (Outcome.SENT, None, rig.channel)
    async with rig.read() as found:
        assert found == ["Invoice 1 is paid"]


@pytest.mark.parametrize(("rig", "state"), [(name, state) for name in RIGS for state in STATES[name]], indirect=["rig"])
async def test_a_failure_is_typed_and_bounded_and_the_next_attempt_works(
    rig: Rig, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    log_everything(caplog)
    async with rig.put(state):
        [failed] = await rig.notifier.send(paid(rig, 1), rig.recipient)
        assert failed.outcome is Outcome.FAILED
        assert type(failed.error) is rig.states[state]
    # No new notifier, and no wait.
    [again] = await rig.notifier.retry([failed])
    assert (again.outcome, again.delivery.id) == (Outcome.SENT, failed.delivery.id)
    [next_one] = await rig.notifier.send(paid(rig, 2), rig.recipient)
    assert next_one.outcome is Outcome.SENT
    async with rig.read() as found:
        assert [text for text in found if "2" in text] == ["Invoice 2 is paid"]
        assert "Invoice 1 is paid" in found
    # Neither tokens nor addresses nor what it says; mail.log is that of the server.
    logged = " ".join(record.getMessage() for record in caplog.records if record.name != "mail.log")
    said = f"{logged} {failed!r} {failed.error} {rig.recipient!r}"
    assert not [word for word in ("secret-token", "Invoice", "15550100", "anna@") if word in said]


async def test_a_channel_that_fails_stops_no_other(rig: Rig) -> None:
    broken = MemoryChannel(rig.notifier._channels[rig.channel].traits.renders)
    broken.error = ChannelUnavailableError("the test wants it")
    rig.notifier._channels["broken"] = broken
    recipient = rig.recipient.route("broken", "an address")
    notification = InvoicePaid(number=1, channels=["broken", rig.channel])
    receipts = await rig.notifier.send(notification, recipient)
    assert [receipt.outcome for receipt in receipts] == [Outcome.FAILED, Outcome.SENT]
    broken.error = None
    receipts = await rig.notifier.retry(receipts)
    assert [receipt.outcome for receipt in receipts] == [Outcome.SENT, Outcome.SENT]
    assert len(broken.deliveries) == 1
    async with rig.read() as found:
        assert found == ["Invoice 1 is paid"]


async def test_it_is_opened_again_after_it_is_closed(rig: Rig) -> None:
    await open_anew(rig.notifier, lambda: rig.notifier.send(paid(rig, 1), rig.recipient))
    [receipt] = await rig.notifier.send(paid(rig, 2), rig.recipient)
    assert receipt.outcome is Outcome.SENT
