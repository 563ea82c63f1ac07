"""Follows the source of the key ring: each new ring takes the place of the one in use, without a restart."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from kpi_shared.background import Schedule, repeat, running
from kpi_shared.key_ring import BadRingError, KeyRing, require_active
from kpi_shared.settings import OptionalTokenSettings, TokenSettings
from kpi_shared.telemetry.metrics import Metrics
from kpi_shared.token_keys.sources import RingSource, source_of
from kpi_shared.tokens import TokenCodec

log = structlog.get_logger(__name__)

# A file that is being written in place is complete at the next look.
_FAILURES_TO_REPORT = 2


class RingFollower:
    """A ring that cannot be used changes nothing: the present one stays, and ``problem`` says why."""

    def __init__(self, codec: TokenCodec, source: RingSource, parse: Callable[[bytes], KeyRing]) -> None:
        self._codec = codec
        self._source = source
        self._parse = parse
        self._text: bytes | None = None
        self._failures = 0
        self.problem: str | None = None

    async def step(self) -> bool:
        try:
            text = await self._source.read()
            if text != self._text:
                self._use(self._parse(text))
                self._text = text
            self._note_success()
        except BadRingError as error:
            self._note_failure(str(error))
        return False

    def _use(self, ring: KeyRing) -> None:
        """BadRingError for a ring in which no key is active, unless that is because the active one was killed."""
        present = self._codec.ring.active
        if present is not None and present.kid not in ring.killed:
            require_active(ring)
        before = self._codec.ring.states
        self._codec.use(ring)
        if self._codec.ring.states != before:
            log.info("key ring replaced", keys=self._codec.ring.states)

    def _note_success(self) -> None:
        if self.problem is not None:
            log.info("key ring can be used again")
        self._failures, self.problem = 0, None

    def _note_failure(self, problem: str) -> None:
        self._failures += 1
        if self._failures >= _FAILURES_TO_REPORT and problem != self.problem:
            log.error("key ring cannot be used; the present keys stay", source=self._source.name, problem=problem)
            self.problem = problem


@asynccontextmanager
async def following(
    codec: TokenCodec, settings: TokenSettings | OptionalTokenSettings, metrics: Metrics
) -> AsyncIterator[None]:
    """Keep the keys of the codec up to date while the block runs."""
    source = source_of(settings)
    _register_keys(metrics, codec)
    if source is None:
        yield
        return
    if settings.paseto_secret_key:
        log.warning("key ring used for access tokens", detail=settings.use_of_former_keys)
    follower = RingFollower(codec, source, settings.parse_ring)
    unusable = "1 while the key ring was changed into one that cannot be used, 0 otherwise"
    metrics.add_gauge("kpi_token_keys_unusable", unusable, (), lambda: {(): float(follower.problem is not None)})
    schedule = Schedule(source.interval, first_backoff=source.interval, longest_backoff=source.interval)
    async with running(repeat(follower.step, schedule, failure="key ring not read"), name="key ring"):
        yield


def _register_keys(metrics: Metrics, codec: TokenCodec) -> None:
    metrics.add_gauge(
        "kpi_token_keys",
        "Keys of the tokens in use, by their state",
        ("state",),
        lambda: {(state,): sum(each == state for each in codec.ring.states.values()) for state in _STATES},
    )


_STATES = ("next", "active", "verify-only")
