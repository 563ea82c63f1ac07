"""The worker that sends events to webhooks: each at least once, and those of one account in their order.

Events that have their place are queued for each webhook. A delivery is leased in one short transaction, sent outside
any transaction, and settled in another. The lease is short and renewed meanwhile: if the process dies, the delivery is
due within seconds at another one.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from typing import NamedTuple

import structlog
from fastapi import FastAPI
from kpi_kit.destinations import DestinationError, GoneError
from kpi_kit.posting import WebhookSender
from kpi_shared.background import InFlight, Lease, Schedule, backoff, repeat, running
from kpi_shared.telemetry.metrics import Metrics

from kpi_auth.context import Context, context_of
from kpi_auth.events import lookup_repository
from kpi_auth.events import repository as events
from kpi_auth.events.models import PlacedEvent
from kpi_auth.origin import Origin
from kpi_auth.settings.secret_keys import SecretKeys
from kpi_auth.webhooks import delivery_repository as deliveries
from kpi_auth.webhooks import repository, settling
from kpi_auth.webhooks.delivery_repository import Backlog
from kpi_auth.webhooks.destinations import build_sender, describe
from kpi_auth.webhooks.fields import Outcome, matches_any
from kpi_auth.webhooks.lanes import Lanes
from kpi_auth.webhooks.models import AttemptResult, LeasedDelivery
from kpi_auth.webhooks.rendering import render_body, sign_body
from kpi_auth.webhooks.service import PATIENCE
from kpi_auth.webhooks.signatures import SecretSealer, UnreadableSecretError

log = structlog.get_logger(__name__)

_LONGEST_BACKOFF = 30.0
_BATCH = 500
_NO_REQUEST = Origin(address=None, user_agent=None, request_id="")


class WebhookTimes(NamedTuple):
    """Times in seconds, and how many events are sent at once."""

    poll: float = 0.5
    # Several renewals, so that one may fail.
    lease: float = 6.0
    renewal: float = 1.5
    lanes: int = 32
    lanes_each: int = 4
    # An attempt that takes longer holds its webhook back as one that fails.
    slow: float = 2.0
    most_pending: int = repository.MAX_PENDING
    # The delays between attempts, which double.
    first_delay: float = 5.0
    longest_delay: float = 3600.0
    # How long a delivery is attempted, and how many that die in a row disable the webhook.
    patience: timedelta = PATIENCE
    most_dead: int = 10
    # How long the outcome of an attempt may take to be stored. If the delivery is leased elsewhere first, it is not.
    storing: float = 120.0
    # Between two measurements of the backlog.
    measuring: float = 15.0
    # The time that deliveries in flight get when the service stops.
    grace: float = 1.5


class _Held:
    """A leased delivery that is being attempted."""

    def __init__(self, delivery: LeasedDelivery, event: PlacedEvent | None, lease: Lease) -> None:
        self.delivery = delivery
        self.event = event
        self.lease = lease


class WebhookWorker:
    def __init__(self, context: Context, sender: WebhookSender, times: WebhookTimes | None = None) -> None:
        self._context = context
        self._database = context.database
        self._sealer = SecretSealer(SecretKeys(context.settings))
        self._sender = sender
        self._times = times or WebhookTimes()
        self._lanes = Lanes(total=self._times.lanes, each=self._times.lanes_each)
        self._in_flight = InFlight(self._times.lanes)
        self._held: set[_Held] = set()
        self._wake = asyncio.Event()
        # Set when there are events to queue.
        self.news = asyncio.Event()
        # Attempts by their outcome.
        self._outcomes: Counter[Outcome] = Counter()
        self._backlog = Backlog(0, 0.0)

    def register_metrics(self, metrics: Metrics) -> None:
        text = "Attempts to send an event to a webhook, by their outcome"
        metrics.add_counter(
            "kpi_auth_webhook_attempts",
            text,
            ("outcome",),
            lambda: {(outcome.value,): self._outcomes[outcome] for outcome in Outcome},
        )
        sending = "Events that are being sent to webhooks"
        metrics.add_gauge("kpi_auth_webhook_sending", sending, (), lambda: {(): len(self._in_flight)})
        waiting = "Deliveries that wait at active webhooks, at the last measurement"
        metrics.add_gauge("kpi_auth_webhook_waiting", waiting, (), lambda: {(): self._backlog.waiting})
        oldest = "Seconds for which the oldest waiting delivery has waited, at the last measurement"
        metrics.add_gauge("kpi_auth_webhook_oldest_seconds", oldest, (), lambda: {(): self._backlog.oldest})

    async def run(self) -> None:
        """Queue events and send them until cancelled; ``finish`` then waits for those in flight."""
        poll, renewal = self._times.poll, self._times.renewal
        working = Schedule(interval=poll, first_backoff=2 * poll, longest_backoff=_LONGEST_BACKOFF)
        renewing = Schedule(interval=renewal, first_backoff=renewal / 2, longest_backoff=renewal)
        measuring = Schedule(interval=self._times.measuring)
        async with asyncio.TaskGroup() as group:
            group.create_task(
                repeat(self._queue_events, working, failure="events cannot be queued for webhooks", wake=self.news)
            )
            group.create_task(
                repeat(self._start_due, working, failure="events for webhooks cannot be leased", wake=self._wake)
            )
            group.create_task(repeat(self._renew, renewing, failure="leases of webhooks cannot be renewed"))
            group.create_task(repeat(self._measure, measuring, failure="backlog of webhooks cannot be measured"))

    async def finish(self) -> None:
        """Wait for the deliveries in flight for the grace period, then postpone those that are left."""
        await self._in_flight.finish(grace=self._times.grace)

    async def _queue_events(self) -> bool:
        """Queue some events for the webhook that is furthest behind; True if there may be more."""
        async with self._database.reading() as connection:
            last = (await events.get_ends(connection)).last
            if not await repository.is_any_behind(connection, last=last, most=self._times.most_pending):
                return False
        async with self._database.working() as connection:
            webhook = await repository.lock_behind(connection, last=last, most=self._times.most_pending)
            if webhook is None:
                # Another replica has queued them in the meantime.
                return False
            page = await events.get_page(connection, after=webhook.queued_seq, most=_BATCH)
            wanted = [event for event in page if matches_any(webhook.event_types, event.type)]
            await deliveries.add(connection, webhook_id=webhook.id, events=wanted, patience=self._times.patience)
            await repository.set_queued(connection, webhook_id=webhook.id, seq=page[-1].seq if page else last)
        self._wake.set()
        return True

    async def _start_due(self) -> bool:
        """Start to send what is due and has a lane; the end of a delivery wakes this again."""
        async with self._database.reading() as connection:
            waiting = await deliveries.find_waiting(connection)
        places = self._lanes.allot(waiting)
        if not places:
            return False
        await self._sender.load()
        lease = Lease.begin(self._times.lease)
        async with self._database.working() as connection:
            leased = await deliveries.lease(connection, places=places, seconds=self._times.lease)
            found = await lookup_repository.get_by_seqs(connection, seqs=[delivery.seq for delivery in leased])
        for delivery in leased:
            self._lanes.take(delivery.webhook_id)
            self._in_flight.start(self._deliver(_Held(delivery, found.get(delivery.seq), lease)))
        return bool(leased)

    async def _renew(self) -> bool:
        held = set(self._held)
        if held:
            lease = Lease.begin(self._times.lease)
            leased = [one.delivery for one in held]
            async with self._database.working() as connection:
                renewed = await deliveries.renew(connection, leased, seconds=self._times.lease)
            for one in held:
                if (one.delivery.webhook_id, one.delivery.seq) in renewed:
                    one.lease = lease
        return False

    async def _measure(self) -> bool:
        async with self._database.reading() as connection:
            self._backlog = await deliveries.get_backlog(connection)
        return False

    async def _deliver(self, held: _Held) -> None:
        delivery = held.delivery
        self._held.add(held)
        result: AttemptResult | None = None
        begun = monotonic()
        try:
            result = await self._attempt(held)
            if result is not None:
                is_soon = monotonic() - begun <= self._times.slow
                self._lanes.note(delivery.webhook_id, is_good=is_soon and result.outcome is Outcome.DELIVERED)
                await self._settle(delivery, result)
        except asyncio.CancelledError:
            stopped = AttemptResult(Outcome.FAILED, "The service stopped during the attempt")
            with suppress(Exception):
                async with asyncio.timeout(1):
                    await self._store(delivery, result or stopped)
            raise
        finally:
            self._held.discard(held)
            self._lanes.give_back(delivery.webhook_id)
            self._wake.set()

    async def _attempt(self, held: _Held) -> AttemptResult | None:
        """None if the lease has ended before: another worker has sent it, and perhaps later events too."""
        delivery = held.delivery
        if held.lease.is_over:
            return None
        if held.event is None:
            return AttemptResult(Outcome.DEAD, "The event is no longer kept")
        body = render_body(held.event)
        try:
            await self._sender.send(delivery.url, body, sign_body(self._sealer, delivery, body))
        except UnreadableSecretError:
            return AttemptResult(Outcome.REFUSED, "Its secret cannot be decrypted: rotate it, and activate the webhook")
        except DestinationError as error:
            return _judge(delivery, describe(error), is_refusal=isinstance(error, GoneError))
        except Exception as error:
            log.exception("an event could not be sent to a webhook", webhook_id=delivery.webhook_id)
            return _judge(delivery, type(error).__name__)
        return AttemptResult(Outcome.DELIVERED)

    async def _settle(self, delivery: LeasedDelivery, result: AttemptResult) -> None:
        """Retry for some time, even without a lease: an event whose outcome cannot be stored is sent twice."""
        limit = Lease.begin(self._times.storing)
        while not limit.is_over:
            try:
                await self._store(delivery, result)
            except Exception as error:  # noqa: BLE001 as above
                facts = {"webhook_id": delivery.webhook_id, "seq": delivery.seq}
                log.warning("cannot store what became of an event yet", **facts, error=type(error).__name__)
                await asyncio.sleep(self._times.poll)
            else:
                return
        log.error("cannot store what became of an event", webhook_id=delivery.webhook_id, seq=delivery.seq)

    async def _store(self, delivery: LeasedDelivery, result: AttemptResult) -> None:
        delay = backoff(delivery.attempts, first=self._times.first_delay, longest=self._times.longest_delay)
        async with self._database.working() as connection:
            held = await settling.settle(
                *(self._context, connection, delivery, result),
                delay=delay,
                most_dead=self._times.most_dead,
            )
        self._outcomes[result.outcome] += held
        facts = {"webhook_id": delivery.webhook_id, "seq": delivery.seq, "attempts": delivery.attempts}
        if not held:
            log.warning("event was leased for its webhook by another worker", **facts)
        elif result.outcome is Outcome.DELIVERED:
            log.debug("event sent to a webhook", **facts)
        else:
            log.warning("event not sent to a webhook", **facts, outcome=result.outcome.value, reason=result.error)


def _judge(delivery: LeasedDelivery, error: str, *, is_refusal: bool = False) -> AttemptResult:
    if is_refusal:
        return AttemptResult(Outcome.REFUSED, error)
    return AttemptResult(Outcome.DEAD if delivery.is_last else Outcome.FAILED, error)


async def webhook_worker(app: FastAPI) -> AsyncIterator[None]:
    if not app.state.settings.webhook_worker:
        yield
        return
    sender = build_sender(app.state.webhook_destinations)
    worker = WebhookWorker(context_of(app.state, _NO_REQUEST), sender)
    worker.register_metrics(app.state.metrics)
    app.state.feed.on_event.append(lambda _event: worker.news.set())
    try:
        async with running(worker.run(), name="webhook worker"):
            yield
    finally:
        await worker.finish()
