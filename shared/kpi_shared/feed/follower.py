"""Follows auth's feed: one stream of events per process, from one address after another."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from itertools import cycle
from math import inf, isinf
from time import monotonic
from typing import NoReturn

import structlog
from fastapi import FastAPI

from kpi_shared.background import backoff, running
from kpi_shared.feed.applying import apply_event, apply_snapshot
from kpi_shared.feed.client import FeedClient
from kpi_shared.feed.errors import FeedError
from kpi_shared.feed.hearing import Hearing
from kpi_shared.feed.lines import LineReader
from kpi_shared.feed.schemas import FeedEvent, Heartbeat
from kpi_shared.feed.settings import NO_FEED, FollowerSettings
from kpi_shared.health import AppCheck, NotReadyError, Remark
from kpi_shared.revocations import Revocations
from kpi_shared.settings import Environment

log = structlog.get_logger(__name__)

# An address whose own database does not respond is behind, while others may not be.
_TOLERATED_BEHIND = 2.0
# Another one is not thought to be better than the current one for so long after its own failure.
_TROUBLE_SECONDS = 5.0
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.1, 1.0


class Follower:
    """``wake`` is set when an account may have changed. ``has_snapshot`` is for readiness."""

    def __init__(self, client: FeedClient, revocations: Revocations) -> None:
        self._client = client
        self._revocations = revocations
        self.wake = asyncio.Event()
        self._wakes: list[asyncio.Event] = []
        self.has_snapshot = False
        self.seq = 0
        self.reconnects = 0
        self._is_followed = False
        self._was_good = False
        # By address: when it last failed, or was behind.
        self._troubled_at: dict[str, float] = {}

    async def follow(self) -> NoReturn:
        """After a failure the next address is asked at once; a round in which all failed is followed by a pause."""
        failures, count = 0, len(self._client.addresses)
        for address in cycle(self._client.addresses):
            self._was_good = False
            try:
                await self._follow_at(address)
            except FeedError as error:
                self._troubled_at[address] = monotonic()
                self._report_end(address, str(error))
            except Exception:  # the loop must not end while the service runs
                log.exception("feed lost", address=address)
            self.reconnects += 1
            failures = 0 if self._was_good else failures + 1
            if failures and failures % count == 0:
                await asyncio.sleep(backoff(failures // count, first=_FIRST_BACKOFF, longest=_LONGEST_BACKOFF))
        raise AssertionError("a cycle has no end")

    async def _follow_at(self, address: str) -> None:
        """Snapshot, then the events after it, so that no event between two streams is missed. Ends with FeedError.

        A stream that has become old only ends.
        """
        asked = monotonic()
        snapshot = await self._client.get_revocations(address)
        await apply_snapshot(self._revocations, snapshot)
        self.has_snapshot = True
        if snapshot.seq != self.seq:
            self.seq = snapshot.seq
            self.wake.set()
            self._wake_all()
        # Before the request: what a process that stood still meanwhile reads from its connection is old.
        hearing = Hearing(asked=asked, opened=monotonic())
        lines = LineReader()
        async with self._client.open_events(address, after=snapshot.seq) as pieces:
            async for piece in pieces:
                hearing.note_piece(monotonic())
                for item in lines.read(piece):
                    if isinstance(item, Heartbeat):
                        self._note_heartbeat(address, item, hearing)
                    else:
                        self._note_event(item)
                if hearing.is_old:
                    self._is_followed = False
                    return
        raise FeedError("it ended the stream")

    def _note_event(self, event: FeedEvent) -> None:
        apply_event(self._revocations, event)
        self.seq = event.seq
        if event.is_of_account:
            self.wake.set()
        self._wake_all()

    def add_wake(self) -> asyncio.Event:
        """An event of asyncio that is set whenever something may have happened, for one more reader."""
        wake = asyncio.Event()
        self._wakes.append(wake)
        return wake

    def _wake_all(self) -> None:
        for wake in self._wakes:
            wake.set()

    def _note_heartbeat(self, address: str, heartbeat: Heartbeat, hearing: Hearing) -> None:
        self._revocations.mark_known(until=hearing.note_heartbeat(heartbeat))
        self.seq = heartbeat.seq
        if hearing.delay > _TOLERATED_BEHIND:
            raise FeedError("its messages arrive too late")
        if heartbeat.behind > _TOLERATED_BEHIND and self._may_others_be_better(address):
            raise FeedError("it has not read its database for too long")
        self._was_good = hearing.is_good
        if not self._is_followed:
            self._is_followed = True
            self._client.prefer(address)
            log.info("feed followed", address=address)

    def _may_others_be_better(self, address: str) -> bool:
        """If all are behind, since they have the same database, each change of the address costs a snapshot."""
        now = self._troubled_at[address] = monotonic()
        others = (self._troubled_at.get(other, -inf) for other in self._client.addresses if other != address)
        return any(now - troubled_at > _TROUBLE_SECONDS for troubled_at in others)

    def _report_end(self, address: str, reason: str) -> None:
        """Once for each trouble: while none of the addresses works, there is an attempt every second."""
        if self._is_followed or not self.reconnects:
            log.warning("feed lost", address=address, reason=reason)
        self._is_followed = False


async def revocation_feed(app: FastAPI) -> AsyncIterator[None]:
    """The resource behind ``kpi_shared.security``: follow the feed while the service runs, if there is one."""
    settings: FollowerSettings = app.state.settings
    client = FeedClient.of(settings)
    app.state.feed_client = client
    if client is None:
        if settings.app_env is Environment.PRODUCTION:
            log.warning(NO_FEED)
        yield
        return
    revocations = Revocations(silence_limit=settings.revocation_silence_limit, kill_key=partial(_kill_key, app))
    follower = Follower(client, revocations)
    app.state.revocations, app.state.follower = revocations, follower
    _register_metrics(app, follower, revocations)
    try:
        async with running(follower.follow(), name="revocation feed"):
            yield
    finally:
        await client.close()


def _kill_key(app: FastAPI, kid: str) -> None:
    app.state.tokens.kill(kid)


def _register_metrics(app: FastAPI, follower: Follower, revocations: Revocations) -> None:
    metrics = app.state.metrics
    metrics.add_gauge(
        "kpi_revocation_feed_age_seconds",
        "For how long a revocation may have been committed without being known here",
        (),
        lambda: {(): revocations.age},
    )
    metrics.add_gauge("kpi_revocations", "Revocations in memory", (), lambda: {(): len(revocations)})
    metrics.add_counter(
        "kpi_revocation_feed_reconnects", "Streams of the feed that ended", (), lambda: {(): follower.reconnects}
    )


def feed_checks(settings: FollowerSettings) -> dict[str, AppCheck]:
    """What ``build_service`` needs for the readiness of a service that follows the feed."""
    return {"feed": check_feed} if settings.has_feed else {}


async def check_feed(app: FastAPI) -> Remark | None:
    """Not ready before the first snapshot. Later a silent feed is only named, since reads go on."""
    if not app.state.follower.has_snapshot:
        raise NotReadyError("auth's feed has not responded yet")
    age: float = app.state.revocations.age
    if age <= app.state.settings.revocation_silence_limit:
        return None
    silence = "silent" if isinf(age) else f"silent for {age:.0f} s"
    return Remark(f"{silence}: writes are refused")
