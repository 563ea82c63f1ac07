"""The platform's events reach the listeners of a service's own bus."""

import json
import re
from pathlib import Path
from typing import cast

import pytest
from feed_stand_in import eventually
from following_support import Follow
from kpi_kit.events import Event, EventBus, EventFake
from kpi_shared.feed.client import FeedClient
from kpi_shared.feed.dispatching import Dispatcher, MemoryPosition, dispatching_platform_events
from kpi_shared.feed.follower import Follower
from kpi_shared.feed.platform_events import (
    PLATFORM_EVENTS,
    AccountDeleted,
    AccountRenamed,
    PlatformEvent,
    SessionEnded,
    read_platform_event,
)
from kpi_shared.feed.schemas import EventPage, FeedEvent
from structlog.testing import CapturingLogger

_EXAMPLE = re.compile(r"### `([\w.]+)`\n.*?```json\n(.*?)```", re.DOTALL)


def test_every_type_of_the_page_is_an_event_of_the_bus() -> None:
    page = Path(__file__).parents[4] / "docs" / "events.md"
    examples = {name: json.loads(line) for name, line in _EXAMPLE.findall(page.read_text("utf-8"))}
    assert examples.keys() == {event.event_name for event in PLATFORM_EVENTS}
    for name, example in examples.items():
        found = read_platform_event(FeedEvent.model_validate(example))
        assert found is not None
        assert found.event_name == name
        assert (found.seq, found.account_id) == (example["seq"], example["account_id"])
        assert found.model_dump()["data"] == example["data"]


@pytest.mark.parametrize("kind", ["account.renamed", "account.invented"])
def test_what_cannot_be_read_is_left_out(kind: str) -> None:
    assert read_platform_event(FeedEvent(seq=1, type=kind, account_id=1, data={"odd": 1})) is None


class Ear:
    def __init__(self) -> None:
        self.heard: list[PlatformEvent] = []

    async def __call__(self, event: PlatformEvent) -> None:
        self.heard.append(event)

    @property
    def places(self) -> list[int]:
        return [event.seq for event in self.heard]


async def test_listeners_get_what_happens_while_the_service_runs(follow: Follow) -> None:
    every, renamed = Ear(), Ear()
    async with follow() as service, EventBus.from_url("memory://", events=PLATFORM_EVENTS) as bus:
        feed, position = service.feeds[0], MemoryPosition()
        bus.listen("*", every)
        bus.listen(AccountRenamed, renamed)
        feed.change(11, "account.created")
        await eventually(lambda: service.settled)
        async with dispatching_platform_events(service.app, bus, position=position):

            async def has_begun() -> bool:
                return await position.load() is not None

            await eventually(has_begun)
            feed.change(11, username="marie")
            feed.publish("session.ended", account_id=11, session_id=12, reason="logout")
            feed.publish("account.invented", account_id=11)
            await eventually(lambda: 3 in every.places)
            # Between two streams nothing is left out, and nothing comes twice.
            service.feeds[1].status = 503
            feed.cut()
            feed.change(11, "account.deleted", is_deleted=True)
            await eventually(lambda: 5 in every.places)
        assert every.places == [2, 3, 5]
        assert [type(event) for event in every.heard] == [AccountRenamed, SessionEnded, AccountDeleted]
        assert [event.data.username for event in renamed.heard if isinstance(event, AccountRenamed)] == ["marie"]


async def test_a_position_that_was_stored_misses_nothing(follow: Follow) -> None:
    position = MemoryPosition()
    async with follow() as service, EventFake(events=PLATFORM_EVENTS) as bus:
        feed = service.feeds[0]
        await position.store(feed.seq)
        for number in range(1, 4):
            feed.change(number, "account.created")
        bus.is_down = True
        async with dispatching_platform_events(service.app, bus, position=position):
            await eventually(lambda: service.settled)
            assert await position.load() == 0, "what is not acknowledged is not done"
            bus.is_down = False
            await eventually(lambda: len(_sent(bus)) == 3)


async def test_events_that_auth_keeps_no_longer_are_left_out(follow: Follow) -> None:
    position = MemoryPosition()
    await position.store(0)
    async with follow() as service, EventFake(events=PLATFORM_EVENTS) as bus:
        feed = service.feeds[0]
        feed.change(1, "account.created")
        await eventually(lambda: service.settled)
        feed.events.clear()
        feed.kept_after = feed.seq
        async with dispatching_platform_events(service.app, bus, position=position):

            async def is_past() -> bool:
                return await position.load() == feed.kept_after

            await eventually(is_past)
            feed.change(1, username="marie")
            await eventually(lambda: len(_sent(bus)) == 1)


async def test_an_event_that_is_too_large_for_the_bus_does_not_stop_the_others(
    follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    position, logged = MemoryPosition(), CapturingLogger()
    monkeypatch.setattr("kpi_shared.feed.dispatching.log", logged)
    await position.store(0)
    async with follow() as service, EventFake(events=PLATFORM_EVENTS) as bus:
        feed = service.feeds[0]
        feed.publish(
            "sessions.ended", account_id=1, session_ids=list(range(10**8, 10**8 + 30_000)), reason="logout-all"
        )
        feed.publish("session.ended", account_id=1, session_id=12, reason="logout")
        async with dispatching_platform_events(service.app, bus, position=position):
            await eventually(lambda: bool(_sent(bus)))
    assert [event.event_name for event in _sent(bus)] == ["session.ended"]
    assert [(call.method_name, call.kwargs["seq"]) for call in logged.calls] == [("exception", 1)]


async def test_a_place_that_a_restored_auth_never_gave_is_left_for_its_newest(follow: Follow) -> None:
    position = MemoryPosition()
    await position.store(1000)
    async with follow() as service, EventFake(events=PLATFORM_EVENTS) as bus:
        feed = service.feeds[0]
        feed.change(1, "account.created")
        await eventually(lambda: service.settled)
        async with dispatching_platform_events(service.app, bus, position=position):

            async def is_reset() -> bool:
                return await position.load() == feed.seq

            await eventually(is_reset)
            feed.change(1, username="marie")
            await eventually(lambda: len(_sent(bus)) == 1)


async def test_a_follower_that_is_behind_for_a_moment_changes_no_place() -> None:
    class Behind:
        has_snapshot, seq = False, 0

    class Client:
        asked = 0

        async def ask_any(self, _ask: object) -> EventPage:
            self.asked += 1
            return EventPage(items=[], last=7)

    client, follower, position = Client(), Behind(), MemoryPosition()
    await position.store(7)
    async with EventFake(events=PLATFORM_EVENTS) as bus:
        dispatcher = Dispatcher(cast("FeedClient", client), cast("Follower", follower), bus, position)
        assert not await dispatcher.dispatch_page()
        assert client.asked == 0, "before its first snapshot, its place is not one of auth's"
        follower.has_snapshot, follower.seq = True, 5
        assert not await dispatcher.dispatch_page()
        assert (client.asked, await position.load()) == (1, 7)
        follower.seq = 7
        assert not await dispatcher.dispatch_page()
        assert (client.asked, await position.load()) == (1, 7)


def _sent(bus: EventFake) -> list[Event]:
    return [event for kind in PLATFORM_EVENTS for event in bus.find(kind)]
