"""The worker that sends the mails of the outbox: each at least once, and by one replica at a time.

A mail is leased in one short transaction, sent outside any transaction, and settled in another one as soon as the
server has accepted it. The lease is short and renewed meanwhile: if the process dies, the mail is due within seconds.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple

import structlog
from fastapi import FastAPI
from kpi_kit.mail.contract import Letter, Transport
from kpi_kit.mail.errors import NotSentError
from kpi_shared.background import InFlight, Lease, Schedule, backoff, repeat, running
from kpi_shared.database import Database
from kpi_shared.telemetry.metrics import Metrics
from kpi_shared.tokens import TokenCodec

from kpi_auth.mails import repository
from kpi_auth.mails.deliveries import Delivery, Turns
from kpi_auth.mails.models import DeliveryOutcome, LeasedMail, MailState
from kpi_auth.mails.outbox import content_keys, open_content
from kpi_auth.mails.rendering import Renderer
from kpi_auth.mails.transports import build_transport
from kpi_auth.settings import AuthSettings

log = structlog.get_logger(__name__)

# With these delays the last attempt is about 20 hours after the first: a server may be down for a night.
MAX_ATTEMPTS = 28
_FIRST_DELAY = 10.0
_LONGEST_DELAY = 3600.0
_LONGEST_BACKOFF = 30.0

_SENT = DeliveryOutcome(MailState.SENT)


class MailWorkerTimes(NamedTuple):
    """Times in seconds, and the number of mails that are sent at once."""

    poll: float = 1.0
    # Several renewals, so that one may fail.
    lease: float = 6.0
    renewal: float = 1.5
    lanes: int = 4
    # How long a mail waits while the server is accepting another one.
    turn: float = 1.0
    # How long the outcome of a mail may take to be stored. If the mail is leased elsewhere first, it is not stored.
    patience: float = 120.0
    # The time that mails in flight get when the service stops.
    grace: float = 1.5


class MailWorker:
    def __init__(
        self,
        database: Database,
        settings: AuthSettings,
        transport: Transport,
        times: MailWorkerTimes | None = None,
        *,
        tokens: TokenCodec | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._tokens = tokens or TokenCodec.of(settings)
        self._renderer = Renderer(settings)
        self._transport = transport
        self._times = times or MailWorkerTimes()
        self._in_flight = InFlight(self._times.lanes)
        self._turns = Turns(self._times.turn)
        self._deliveries: set[Delivery] = set()
        # Attempts by their outcome.
        self._outcomes: Counter[str] = Counter()

    def register_metrics(self, metrics: Metrics) -> None:
        """Register metrics of sending. The number of waiting mails is in the table, which admins can list."""
        metrics.add_gauge("kpi_auth_mails_sending", "Mails that are being sent", (), lambda: {(): len(self._in_flight)})
        text = "Attempts to send a mail, by the state of the mail after the attempt"
        metrics.add_counter(
            "kpi_auth_mail_attempts",
            text,
            ("state",),
            lambda: {(state.value,): self._outcomes[state.value] for state in MailState},
        )

    async def run(self) -> None:
        """Send due mails and poll for more until cancelled; ``finish`` then waits for the mails in flight."""
        poll, renewal = self._times.poll, self._times.renewal
        sending = Schedule(interval=poll, first_backoff=2 * poll, longest_backoff=_LONGEST_BACKOFF)
        renewing = Schedule(interval=renewal, first_backoff=renewal / 2, longest_backoff=renewal)
        async with asyncio.TaskGroup() as group:
            group.create_task(repeat(self._step, sending, failure="outbox unreachable"))
            group.create_task(repeat(self._renew, renewing, failure="leases of mails cannot be renewed"))

    @property
    def _keys(self) -> tuple[bytes, ...]:
        return content_keys(self._settings, self._tokens.ring)

    async def finish(self) -> None:
        """Wait for the mails in flight for the grace period, then postpone those that are left."""
        await self._in_flight.finish(grace=self._times.grace)

    async def _step(self) -> bool:
        has_more = await self._start_due()
        if has_more:
            await self._in_flight.wait_for_one()
        return has_more

    async def _start_due(self) -> bool:
        """Start to send as many due mails as there are free lanes; True if that filled all lanes."""
        free = self._in_flight.free
        lease = Lease.begin(self._times.lease)
        async with self._database.working() as connection:
            mails = await repository.lease(connection, most=free, seconds=self._times.lease)
        for mail in mails:
            self._in_flight.start(self._deliver(mail, lease))
        return len(mails) == free

    async def _renew(self) -> bool:
        held = set(self._deliveries)
        if held:
            lease = Lease.begin(self._times.lease)
            mails = [delivery.mail for delivery in held]
            async with self._database.working() as connection:
                renewed = await repository.renew(connection, mails, seconds=self._times.lease)
            for delivery in held:
                if delivery.mail.id in renewed:
                    delivery.lease = lease
        return False

    async def _deliver(self, mail: LeasedMail, lease: Lease) -> None:
        delivery = Delivery(mail, lease, self._turns, store_sent=self._settle_sent)
        self._deliveries.add(delivery)
        try:
            outcome = await self._attempt(delivery)
            if not delivery.is_accepted:
                await self._settle(mail, outcome)
        except asyncio.CancelledError:
            stopped = _postpone(mail, "the service stopped during the attempt")
            with suppress(Exception):
                async with asyncio.timeout(1):
                    await self._store_outcome(mail, _SENT if delivery.is_accepted else stopped)
            raise
        finally:
            delivery.end()
            self._deliveries.discard(delivery)

    async def _attempt(self, delivery: Delivery) -> DeliveryOutcome:
        mail = delivery.mail
        if mail.is_expired:
            return DeliveryOutcome(MailState.DEAD, "expired before it was sent")
        try:
            letter = self._renderer.render(mail, open_content(self._keys, mail.content))
        except Exception as error:  # noqa: BLE001 an error in the mail itself would occur again
            return DeliveryOutcome(MailState.DEAD, f"cannot be rendered: {type(error).__name__}")
        return await self._send(delivery, letter)

    async def _send(self, delivery: Delivery, letter: Letter) -> DeliveryOutcome:
        mail = delivery.mail
        try:
            await self._transport.send(letter, delivery)
        except NotSentError as error:
            return DeliveryOutcome(MailState.DEAD, error.reason) if error.is_final else _postpone(mail, error.reason)
        except Exception as error:  # noqa: BLE001 an error in our code must not lose a mail
            return _postpone(mail, type(error).__name__)
        return _SENT

    async def _settle_sent(self, mail: LeasedMail) -> None:
        await self._settle(mail, _SENT)

    async def _settle(self, mail: LeasedMail, outcome: DeliveryOutcome) -> None:
        """Retry for some time, even without a lease: a mail whose outcome cannot be stored is sent twice."""
        limit = Lease.begin(self._times.patience)
        while not limit.is_over:
            try:
                await self._store_outcome(mail, outcome)
            except Exception as error:  # noqa: BLE001 as above
                log.warning("cannot store the outcome of a mail yet", mail_id=mail.id, error=type(error).__name__)
                await asyncio.sleep(self._times.poll)
            else:
                return
        log.error("cannot store the outcome of a mail", mail_id=mail.id, state=outcome.state.value)

    async def _store_outcome(self, mail: LeasedMail, outcome: DeliveryOutcome) -> None:
        async with self._database.working() as connection:
            held = await repository.settle(connection, mail, outcome)
        self._outcomes[outcome.state.value] += held
        # The server's response is stored in the table only, where admins see it.
        facts = {"mail_id": mail.id, "template": mail.template, "attempts": mail.attempts}
        if not held:
            log.warning("mail was leased by another worker", **facts)
        elif outcome.state is MailState.SENT:
            log.info("mail sent", **facts)
        elif outcome.state is MailState.DEAD:
            log.error("mail given up", **facts)
        else:
            log.warning("mail postponed", **facts, seconds=round(outcome.delay))


def _postpone(mail: LeasedMail, error: str) -> DeliveryOutcome:
    if mail.attempts >= MAX_ATTEMPTS:
        return DeliveryOutcome(MailState.DEAD, error)
    return DeliveryOutcome(MailState.PENDING, error, delay_after(mail.attempts))


def delay_after(attempts: int) -> float:
    """Doubles with each attempt, with jitter for mails that failed together."""
    return backoff(attempts, first=_FIRST_DELAY, longest=_LONGEST_DELAY)


async def mail_worker(app: FastAPI) -> AsyncIterator[None]:
    settings: AuthSettings = app.state.settings
    if settings.mail_url is None or not settings.mail_worker:
        yield
        return
    transport = build_transport(settings.mail_url)
    worker = MailWorker(app.state.database, settings, transport, tokens=app.state.tokens)
    worker.register_metrics(app.state.metrics)
    try:
        async with running(worker.run(), name="mail worker"):
            yield
    finally:
        await worker.finish()
        await transport.close()
