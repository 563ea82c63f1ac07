"""How old what is known is: with the time of the snapshot, that of the path, and what the feed itself says."""

import asyncio
from time import monotonic

import pytest
from feed_stand_in import Mood, StandIn, eventually
from following_support import Follow
from kpi_shared.feed.applying import apply_snapshot
from kpi_shared.feed.errors import FeedError
from kpi_shared.feed.hearing import Hearing
from kpi_shared.feed.schemas import Heartbeat, Snapshot
from kpi_shared.revocations import Revocations

SNAPSHOT = "/internal/feed/revocations"


@pytest.fixture
def ages(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Those after each heartbeat."""
    noted: list[float] = []
    mark = Revocations.mark_known

    def note(self: Revocations, *, until: float) -> None:
        noted.append(monotonic() - until)
        mark(self, until=until)

    monkeypatch.setattr(Revocations, "mark_known", note)
    return noted


def beat(*, at: float | None, behind: float = 0.0) -> Heartbeat:
    return Heartbeat(heartbeat=True, seq=1, behind=behind, at=at)


def test_a_heartbeat_is_as_old_as_its_way_was_long() -> None:
    hearing = Hearing(asked=100.0, opened=101.0)
    hearing.note_piece(101.5)
    assert hearing.note_heartbeat(beat(at=5000.0)) == 100.0
    assert hearing.delay == 0.0
    # Sent 0.2 s later, and 0.5 s on its way.
    hearing.note_piece(101.7)
    assert hearing.note_heartbeat(beat(at=5000.2, behind=0.1)) == pytest.approx(101.1)
    assert hearing.delay == pytest.approx(0.5)
    hearing.note_piece(102.2)
    assert hearing.note_heartbeat(beat(at=5000.3)) == pytest.approx(101.3)
    assert hearing.delay == pytest.approx(0.9)
    # A clock that runs faster makes nothing known before it came.
    hearing.note_piece(102.3)
    assert hearing.note_heartbeat(beat(at=6000.0)) == 102.3
    with pytest.raises(FeedError):
        hearing.note_piece(103.0)


def test_without_a_time_a_heartbeat_is_as_old_as_its_arrival() -> None:
    hearing = Hearing(asked=100.0, opened=101.0)
    for now, known in ((101.5, 100.0), (101.7, 101.7), (102.2, 102.2)):
        hearing.note_piece(now)
        assert hearing.note_heartbeat(beat(at=None)) == known
        assert hearing.delay == 0.0


def test_a_stream_is_begun_anew_before_the_clocks_differ() -> None:
    hearing = Hearing(asked=0.0, opened=0.0)
    for second in range(1, 2 * 3600 + 2):
        hearing.note_piece(second / 2)
        hearing.note_heartbeat(beat(at=second / 2))
        assert hearing.is_old == (second > 2 * 3600)


async def test_the_age_has_the_time_of_the_snapshot(
    follow: Follow, feeds: tuple[StandIn, StandIn], ages: list[float]
) -> None:
    feeds[0].snapshot_delay = 1.0
    async with follow() as service:
        await eventually(lambda: service.followed and len(ages) > 1)
        assert feeds[1].asked == []
        assert ages[0] >= 1.0


async def test_what_comes_late_is_old_and_the_next_address_is_asked(follow: Follow, ages: list[float]) -> None:
    async with follow() as service:
        await eventually(lambda: service.followed)
        service.feeds[0].path_delay = 1.5
        await eventually(lambda: ages[-1] >= 1.5)
        assert service.feeds[1].asked == []
        service.feeds[0].path_delay = 11.0
        await eventually(lambda: "/internal/feed/events" in service.feeds[1].asked)
        assert max(ages) >= 11.0
        await eventually(lambda: service.followed)


async def test_an_auth_that_says_no_times_is_followed(follow: Follow, feeds: tuple[StandIn, StandIn]) -> None:
    feeds[0].has_times = False
    async with follow() as service:
        await eventually(lambda: feeds[0].heartbeats > 20)
        assert service.followed
        assert feeds[1].asked == []


async def test_where_all_addresses_are_behind_each_is_asked_once(
    follow: Follow, feeds: tuple[StandIn, StandIn]
) -> None:
    for feed in feeds:
        feed.mood = Mood.BEHIND
    async with follow() as service:
        await eventually(lambda: sum(feed.heartbeats for feed in feeds) > 30)
        assert [feed.asked.count(SNAPSHOT) for feed in feeds] == [1, 1]
        assert service.age >= 3.0
        # The first one has caught up.
        feeds[0].mood = Mood.WELL
        await eventually(lambda: service.followed)


async def test_the_only_address_is_followed_though_it_is_behind(follow: Follow, feeds: tuple[StandIn, StandIn]) -> None:
    feeds[0].mood = Mood.BEHIND
    async with follow(auth_internal_url=(feeds[0].address,)) as service:
        await eventually(lambda: feeds[0].heartbeats > 20)
        assert feeds[0].asked.count(SNAPSHOT) == 1
        feeds[0].mood = Mood.WELL
        await eventually(lambda: service.followed)


async def test_requests_go_on_while_a_long_snapshot_is_added() -> None:
    revocations = Revocations(silence_limit=10, kill_key=lambda _kid: None)
    entries = [{"kind": "session", "id": str(number), "seconds": 900.0} for number in range(20_000)]
    adding = asyncio.create_task(apply_snapshot(revocations, Snapshot(seq=1, revocations=entries)))
    sizes = set()
    while not adding.done():
        await asyncio.sleep(0)
        sizes.add(len(revocations))
    assert len(revocations) == 20_000
    assert len(sizes) >= 20


async def test_a_snapshot_that_cannot_be_read_is_a_failure() -> None:
    revocations = Revocations(silence_limit=10, kill_key=lambda _kid: None)
    for wrong in ({"kind": "session"}, "text", {"kind": "session", "id": 5, "seconds": 1}, {"kind": 1, "id": 5}):
        with pytest.raises(FeedError):
            await apply_snapshot(revocations, Snapshot(seq=1, revocations=[wrong]))
