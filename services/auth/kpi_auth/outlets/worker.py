"""The worker of an outlet: delivers events in their order, each at least once, by one replica at a time.

The lease and the last event that was acknowledged are one row. No transaction is open while events are under way, and
what was acknowledged is stored afterwards: a process that dies in between leaves at most one page to deliver again. An
outlet that does not work is given up until a back-off has passed, so that replicas take turns: one may reach it.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

import structlog
from kpi_shared.background import Lease, Schedule, backoff, repeat
from kpi_shared.database import Database
from kpi_shared.telemetry.metrics import Metrics

from kpi_auth.events import repository as event_repository
from kpi_auth.outlets import repository
from kpi_auth.outlets.channels import Acknowledged, Channel, OutletError, Transport
from kpi_auth.outlets.models import Lag, OutgoingEvent
from kpi_auth.outlets.rendering import render

log = structlog.get_logger(__name__)

_LONGEST_BACKOFF = 30.0
# A reason that stays the same is logged again after this time.
_LOG_SECONDS = 60.0


class OutletTimes(NamedTuple):
    """Times in seconds."""

    # Between two looks for new events in the process that works the outlet, unless it is woken.
    poll: float = 0.5
    # Between two attempts to become that process.
    take: float = 1.0
    # Longer than a page may take, which is delivered between two renewals.
    lease: float = 12.0
    renewal: float = 4.0
    first_backoff: float = 0.5
    longest_backoff: float = 5.0
    measure: float = 5.0
    page: int = 256


class OutletWorker:
    def __init__(
        self, name: str, database: Database, transport: Transport, kept: timedelta, times: OutletTimes | None = None
    ) -> None:
        """``kept`` is the age at which events may be deleted, delivered or not."""
        self._name = name
        self._database = database
        # Set when there are new events.
        self.wake = asyncio.Event()
        self._transport = transport
        self._times = times or OutletTimes()
        self._holder = secrets.token_hex(8)
        self._lease = Lease(0)
        self._renew_at = Lease(0)
        self._seq = 0
        self._failures = 0
        self._report = _Report(name, kept.total_seconds())
        self._lag = Lag(0, 0.0)
        self._is_connected = False
        self._delivered = 0
        self._errors = 0

    def register_metrics(self, metrics: Metrics) -> None:
        def add(add: Callable[..., None], name: str, text: str, read: Callable[[], float]) -> None:
            add(f"kpi_auth_outlet_{name}", text, ("outlet",), lambda: {(self._name,): read()})

        gauge, counter = metrics.add_gauge, metrics.add_counter
        add(gauge, "lag_events", "Events that the outlet has not acknowledged", lambda: self._lag.events)
        add(
            gauge,
            "lag_seconds",
            "Age in seconds of the oldest event that the outlet has not acknowledged",
            lambda: self._lag.seconds,
        )
        add(gauge, "connected", "1 while this process delivers to the outlet", lambda: self._is_connected)
        add(counter, "delivered", "Events that were acknowledged to this process", lambda: self._delivered)
        add(counter, "errors", "How often this process could not deliver", lambda: self._errors)

    async def run(self) -> None:
        """Deliver until cancelled; the next replica may begin at once then."""
        times = self._times
        working = Schedule(interval=times.take, first_backoff=times.take, longest_backoff=_LONGEST_BACKOFF)
        measuring = Schedule(interval=times.measure, first_backoff=times.measure, longest_backoff=_LONGEST_BACKOFF)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(repeat(self._step, working, failure="outlet cannot reach the database"))
                group.create_task(repeat(self._measure, measuring, failure="outlet cannot be measured"))
        finally:
            with suppress(Exception):
                async with asyncio.timeout(1), self._database.working() as connection:
                    await repository.release(connection, name=self._name, holder=self._holder)

    async def _step(self) -> bool:
        """Work the outlet if no other process does, until that fails or the lease is lost."""
        if await self._take():
            try:
                await self._work()
            except OutletError as error:
                await self._fail(str(error))
        return False

    async def _work(self) -> None:
        async with self._transport.open() as channel:
            self._is_connected = True
            try:
                while await self._deliver_page(channel):
                    pass
            finally:
                self._is_connected = False

    async def _deliver_page(self, channel: Channel) -> bool:
        """Deliver the next events, or wait for some; False if another process has the outlet now."""
        if self._renew_at.is_over and not await self._take():
            return False
        # Before the look: what is set during it may be about events that it did not see.
        self.wake.clear()
        events = await self._read()
        if not events:
            await self._pause()
            return True
        delivery = await channel.deliver(events)
        is_held = await self._acknowledge(events, delivery)
        if delivery.error is not None:
            raise OutletError(delivery.error)
        return is_held

    async def _take(self) -> bool:
        self._begin_lease()
        async with self._database.working() as connection:
            seq = await repository.take(connection, name=self._name, holder=self._holder, seconds=self._times.lease)
        if seq is None:
            return False
        # Not what this process remembers: a database that was restored begins again where it was.
        self._seq = seq
        return True

    def _begin_lease(self) -> None:
        self._lease = Lease.begin(self._times.lease)
        self._renew_at = Lease.begin(self._times.renewal)

    async def _read(self) -> Sequence[OutgoingEvent]:
        async with self._database.reading() as connection:
            page = await event_repository.get_page(connection, after=self._seq, most=self._times.page)
        return [render(event) for event in page]

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._times.poll):
                await self.wake.wait()

    async def _acknowledge(self, events: Sequence[OutgoingEvent], delivery: Acknowledged) -> bool:
        if not delivery.done:
            return True
        self._begin_lease()
        self._seq = events[delivery.done - 1].seq
        self._delivered += delivery.done
        self._failures = 0
        self._report.succeed(self._seq)
        return await self._store()

    async def _store(self) -> bool:
        async with self._database.working() as connection:
            return await repository.acknowledge(
                connection, name=self._name, holder=self._holder, seq=self._seq, seconds=self._times.lease
            )

    async def _fail(self, reason: str) -> None:
        self._errors += 1
        self._failures += 1
        await self._measure()
        self._report.fail(reason, self._lag)
        async with self._database.working() as connection:
            await repository.fail(connection, name=self._name, holder=self._holder, error=reason)
        times = self._times
        await asyncio.sleep(backoff(self._failures, first=times.first_backoff, longest=times.longest_backoff))

    async def _measure(self) -> bool:
        async with self._database.reading() as connection:
            seq = await repository.get_seq(connection, name=self._name)
            self._lag = Lag(*await event_repository.get_lag(connection, after=seq))
        return False


class _Report:
    """Logs that an outlet fails when the reason is new or after a minute, and that it works again."""

    def __init__(self, name: str, kept_seconds: float) -> None:
        self._name = name
        self._kept_seconds = kept_seconds
        self._reason: str | None = None
        self._logged_at = 0.0

    def fail(self, reason: str, lag: Lag) -> None:
        if reason != self._reason or time.monotonic() - self._logged_at >= _LOG_SECONDS:
            self._logged_at = time.monotonic()
            facts = {"outlet": self._name, "reason": reason, "waiting": lag.events, "seconds": round(lag.seconds)}
            if lag.seconds < self._kept_seconds:
                log.warning("events cannot be delivered", **facts)
            else:
                log.error("events are deleted undelivered: the outlet took none for EVENTS_KEEP_DAYS", **facts)
        self._reason = reason

    def succeed(self, seq: int) -> None:
        if self._reason is not None:
            log.info("events are delivered again", outlet=self._name, seq=seq)
        self._reason = None
