"""Rate limits: which requests go on, and what their answers say of it.

The header fields are those of draft-ietf-httpapi-ratelimit-headers, beside the X- ones that older clients
read. All times in them are seconds from now, never points in time.
"""

import asyncio
import math
from collections.abc import Awaitable, Iterable, Sequence
from contextvars import Context
from http import HTTPStatus
from typing import NamedTuple

import structlog
from kpi_shared.errors import ProblemError
from kpi_shared.tokens import TokenCodec

from kpi_gateway.policies import Group, Policies, Policy, PolicySetting
from kpi_gateway.settings import GatewaySettings
from kpi_gateway.shared_windows import STORE_ERRORS, RedisWindows
from kpi_gateway.subjects import Subjects
from kpi_gateway.windows import Hit, MemoryWindows, Outcome, Usage

log = structlog.get_logger(__name__)

# How long a request may wait for the store, and how often one that is down is asked whether it is back.
STORE_TIMEOUT_SECONDS = 0.25
STORE_PAUSE_SECONDS = 1.0
_SAFE_METHODS = frozenset({"GET", "HEAD"})

Headers = list[tuple[bytes, bytes]]


class TooManyRequestsError(ProblemError):
    status = HTTPStatus.TOO_MANY_REQUESTS
    type = "too-many-requests"
    title = "Too many requests"

    def __init__(self, wait: int, fields: "Headers") -> None:
        headers = {name.decode(): value.decode() for name, value in fields}
        super().__init__(f"Try again in {wait} s", headers={**headers, "retry-after": str(wait)})


class Decision(NamedTuple):
    """The header fields of the answer, and the refusal to raise where there is one (which has them too)."""

    headers: Headers
    error: TooManyRequestsError | None = None


class RateLimits:
    """Counts requests and refuses those over a quota.

    ``store_errors`` are questions that the shared store did not answer. While it is down nobody waits for it:
    ``unlimited`` are reads that went on without a limit, and ``fallbacks`` other requests for which this gateway's own
    counts stood in.
    """

    def __init__(
        self, policies: Policies, *, shared: RedisWindows | None = None, subjects: Subjects | None = None
    ) -> None:
        self.policies = policies
        self._local = MemoryWindows()
        self._shared = shared
        self._subjects = subjects
        # There while the store is down: it asks now and then, and ends when the store is back.
        self._lookout: asyncio.Task[None] | None = None
        self.store_errors = 0
        self.unlimited = 0
        self.fallbacks = 0

    @classmethod
    def of(cls, settings: GatewaySettings) -> "RateLimits | None":
        """None where they are switched off."""
        if not settings.rate_limit_enabled:
            return None
        general = PolicySetting(requests=settings.rate_limit_requests, window=settings.rate_limit_window)
        url = settings.rate_limit_storage_url
        return cls(
            Policies(general, settings.rate_limit_policies),
            shared=RedisWindows(url.get_secret_value(), timeout=STORE_TIMEOUT_SECONDS) if url else None,
            subjects=Subjects(TokenCodec.of(settings)) if settings.paseto_secret_key else None,
        )

    async def start(self) -> None:
        """Tell the log what is counted where; a store that does not answer is no reason not to start."""
        counts = "address and subject" if self._subjects else "address only, since PASETO_SECRET_KEY is not set"
        log.info("rate limits", by=counts, store="shared" if self._shared else "memory of this process")
        if self._shared is not None:
            try:
                await self._shared.take(())
            except STORE_ERRORS as error:
                self._failed(self._shared, error)

    def numbers(self) -> dict[tuple[str, ...], int]:
        """Decisions by policy and outcome; without the store, all policies together."""
        found: dict[tuple[str, ...], int] = {}
        for name, policy in self.policies.by_name.items():
            found[name, "allowed"], found[name, "limited"] = policy.allowed, policy.limited
        found["all", "unlimited"], found["all", "fallback"] = self.unlimited, self.fallbacks
        found["all", "store-error"] = self.store_errors
        return found

    async def close(self) -> None:
        if self._lookout is not None:
            self._lookout.cancel()
        if self._shared is not None:
            await self._shared.close()

    def decide(
        self, network: str, stricter: str | None, method: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> Decision | Awaitable[Decision]:
        """Count a request of a client on a route with a ``stricter`` policy or none.

        Only what has to wait for the shared store is awaited.
        """
        subject = self._subjects.of(headers) if self._subjects is not None else None
        group = self.policies.group(stricter, signed=subject is not None)
        hits = [Hit(policy, network) for policy in group.policies]
        if subject is not None:
            hits[-1] = Hit(group.policies[-1], subject)
        if self._shared is None:
            return _decision(group, self._local.take(hits))
        if self._lookout is not None:
            return self._without(group, hits, method)
        return self._ask(self._shared, group, hits, method)

    async def _ask(self, store: RedisWindows, group: Group, hits: Sequence[Hit], method: str) -> Decision:
        try:
            outcome = await store.take(hits)
        except STORE_ERRORS as error:
            self._failed(store, error)
            return self._without(group, hits, method)
        return _decision(group, outcome)

    def _failed(self, store: RedisWindows, error: Exception) -> None:
        self.store_errors += 1
        if self._lookout is None:
            # The kind alone: its text may hold the store's address.
            log.warning("rate limit store is down", error=type(error).__name__)
            # What it logs is of no request.
            self._lookout = asyncio.create_task(self._look_out(store), context=Context())

    async def _look_out(self, store: RedisWindows) -> None:
        while True:
            await asyncio.sleep(STORE_PAUSE_SECONDS)
            try:
                await store.take(())
            except Exception:  # noqa: BLE001 whatever it is, the store is not back, and has to be asked again
                self.store_errors += 1
            else:
                log.info("rate limit store is back")
                self._lookout = None
                return

    def _without(self, group: Group, hits: Sequence[Hit], method: str) -> Decision:
        if method in _SAFE_METHODS:
            self.unlimited += 1
            return Decision([])
        self.fallbacks += 1
        return _decision(group, self._local.take(hits))


def _decision(group: Group, outcome: Outcome) -> Decision:
    return _accepted(group, outcome.usages) if outcome.allowed else _refused(group, outcome.usages)


def _accepted(group: Group, usages: Sequence[Usage]) -> Decision:
    states = []
    for policy, usage in zip(group.policies, usages, strict=True):
        policy.allowed += 1
        states.append(State(policy, policy.requests - usage.used(policy.window), math.ceil(usage.left)))
    return Decision(_fields(group, states))


def _refused(group: Group, usages: Sequence[Usage]) -> Decision:
    states = []
    wait = 0
    for policy, usage in zip(group.policies, usages, strict=True):
        remaining = policy.requests - usage.used(policy.window)
        if remaining > 0:
            states.append(State(policy, remaining, math.ceil(usage.left)))
            continue
        policy.limited += 1
        # One more is allowed once that time is over, not when it is.
        after = math.floor(usage.wait(policy)) + 1
        states.append(State(policy, 0, after))
        wait = max(wait, after)
    fields = _fields(group, states)
    return Decision(fields, TooManyRequestsError(wait, fields))


class State(NamedTuple):
    """What is left of a policy, and the seconds until there is more."""

    policy: Policy
    remaining: int
    reset: int


def _fields(group: Group, states: Sequence[State]) -> Headers:
    tightest = states[0]
    field = tightest.policy.state % tightest[1:]
    for state in states[1:]:
        field += b", " + state.policy.state % state[1:]
        if (state.remaining, -state.reset) < (tightest.remaining, -tightest.reset):
            tightest = state
    return [
        (b"x-ratelimit-limit", tightest.policy.requests_text),
        (b"x-ratelimit-remaining", b"%d" % tightest.remaining),
        (b"x-ratelimit-reset", b"%d" % tightest.reset),
        group.field,
        (b"ratelimit", field),
    ]
