"""Rate limits: which requests are allowed, and what their responses say about it.

The header fields are those of draft-ietf-httpapi-ratelimit-headers, in addition to the X- fields that older clients
read. All times in them are seconds from now, never points in time.
"""

import asyncio
import math
from collections.abc import Awaitable, Iterable, Sequence
from contextvars import Context
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import structlog
from kpi_shared.errors import ProblemError
from kpi_shared.tokens import TokenCodec

from kpi_gateway.limits.memory import Hit, LimitOutcome, MemoryWindows, Usage
from kpi_gateway.limits.policies import Policies, Policy, PolicyGroup
from kpi_gateway.limits.subjects import Subjects
from kpi_gateway.setting_types import OWN, PolicySetting
from kpi_gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from kpi_gateway.limits.redis import RedisWindows

log = structlog.get_logger(__name__)

# How long a request may wait for the store, and how often a store that is down is probed.
STORE_TIMEOUT_SECONDS = 0.25
_STORE_PROBE_SECONDS = 1.0
_SAFE_METHODS = frozenset({"GET", "HEAD"})

Headers = list[tuple[bytes, bytes]]


class TooManyRequestsError(ProblemError):
    status = HTTPStatus.TOO_MANY_REQUESTS
    type = "too-many-requests"
    title = "Too many requests"

    def __init__(self, wait: int, fields: "Headers") -> None:
        headers = {name.decode(): value.decode() for name, value in fields}
        super().__init__(f"Try again in {wait} s", headers={**headers, "retry-after": str(wait)})
        # OAuth2 libraries look for this member: without it, some take the response of a token endpoint for a token.
        self.members = {"error": "temporarily_unavailable"}


class Decision(NamedTuple):
    """The header fields of the response, and for a refused request the error to raise (which carries them too)."""

    headers: Headers
    error: TooManyRequestsError | None = None


class RateLimits:
    """Counts requests and refuses those over a quota.

    While the shared store is down, no request waits for it: ``unlimited`` counts reads that were allowed without a
    limit, and ``fallbacks`` other requests, which were counted in this process. ``store_errors`` counts failed calls.
    """

    def __init__(
        self, policies: Policies, *, shared: "RedisWindows | None" = None, tokens: TokenCodec | None = None
    ) -> None:
        self.policies = policies
        self.tokens = tokens
        self._local = MemoryWindows()
        self._shared = shared
        self._subjects = Subjects(tokens) if tokens is not None else None
        # Runs while the store is down, until it responds again.
        self._store_probe: asyncio.Task[None] | None = None
        self.store_errors = 0
        self.unlimited = 0
        self.fallbacks = 0

    @classmethod
    def of(cls, settings: GatewaySettings) -> "RateLimits | None":
        """None if they are switched off."""
        if not settings.rate_limit_enabled:
            return None
        general = PolicySetting(requests=settings.rate_limit_requests, window=settings.rate_limit_window)
        url = settings.rate_limit_storage_url
        return cls(
            Policies(general, settings.rate_limit_policies, site_factor=settings.ipv6_site_factor),
            shared=_connect(url.get_secret_value()) if url else None,
            tokens=TokenCodec.of(settings) if settings.has_token_keys else None,
        )

    async def start(self) -> None:
        """Log what is counted and where. A store that does not respond does not prevent the start."""
        by = "address and subject" if self._subjects else "address only, because there is no key of the tokens"
        log.info("rate limits", by=by, store="shared" if self._shared else "memory of this process")
        if self._shared is not None:
            try:
                await self._shared.take(())
            except self._shared.errors as error:
                self._note_store_failure(self._shared, error)

    def decision_counts(self) -> dict[tuple[str, ...], int]:
        """Decisions by policy and outcome; those made without the store, for all policies together."""
        found: dict[tuple[str, ...], int] = {}
        for name, policy in self.policies.by_name.items():
            found[name, "allowed"], found[name, "limited"] = policy.allowed, policy.limited
        found[OWN, "allowed"], found[OWN, "limited"] = self.policies.own_counts()
        found["all", "unlimited"], found["all", "fallback"] = self.unlimited, self.fallbacks
        found["all", "store-error"] = self.store_errors
        return found

    async def close(self) -> None:
        if self._store_probe is not None:
            self._store_probe.cancel()
        if self._shared is not None:
            await self._shared.close()

    def decide(
        self,
        network: str,
        stricter: str | None,
        method: str,
        headers: Iterable[tuple[bytes, bytes]],
        site: str | None = None,
    ) -> Decision | Awaitable[Decision]:
        """Count a request of a client on a route with a ``stricter`` policy or none.

        Awaitable only if the decision needs the shared store.
        """
        subject = self._subjects.find(headers) if self._subjects is not None else None
        group = self.policies.group(stricter, has_site=site is not None, has_subject=subject is not None)
        hits = [Hit(policy, network) for policy in group.by_address]
        if site is not None:
            hits += [Hit(policy, site) for policy in group.by_site]
        if subject is not None:
            hits.append(Hit(group.policies[-1], subject))
        if self._shared is None:
            return judge(group, self._local.take(hits))
        if self._store_probe is not None:
            return self._decide_without_store(group, hits, method)
        return self._decide_by_store(self._shared, group, hits, method)

    async def _decide_by_store(
        self, store: "RedisWindows", group: PolicyGroup, hits: Sequence[Hit], method: str
    ) -> Decision:
        try:
            outcome = await store.take(hits)
        except store.errors as error:
            self._note_store_failure(store, error)
            return self._decide_without_store(group, hits, method)
        return judge(group, outcome)

    async def take(self, hits: Sequence[Hit], method: str) -> LimitOutcome:
        """Count hits that ``decide`` does not choose; without usages if the store is down and reads have no limit."""
        if self._shared is None:
            return self._local.take(hits)
        if self._store_probe is None:
            try:
                return await self._shared.take(hits)
            except self._shared.errors as error:
                self._note_store_failure(self._shared, error)
        if method in _SAFE_METHODS:
            self.unlimited += 1
            return LimitOutcome(True, ())
        self.fallbacks += 1
        return self._local.take(hits)

    def _note_store_failure(self, store: "RedisWindows", error: Exception) -> None:
        self.store_errors += 1
        if self._store_probe is None:
            # Only the type: the text may contain the store's address.
            log.warning("rate limit store is down", error=type(error).__name__)
            # An empty context: its log lines belong to no request.
            self._store_probe = asyncio.create_task(self._probe_store(store), context=Context())

    async def _probe_store(self, store: "RedisWindows") -> None:
        while True:
            await asyncio.sleep(_STORE_PROBE_SECONDS)
            try:
                await store.take(())
            except Exception:  # noqa: BLE001 whatever the error, the store is not back and must be probed again
                self.store_errors += 1
            else:
                log.info("rate limit store is back")
                self._store_probe = None
                return

    def _decide_without_store(self, group: PolicyGroup, hits: Sequence[Hit], method: str) -> Decision:
        if method in _SAFE_METHODS:
            self.unlimited += 1
            return Decision([])
        self.fallbacks += 1
        return judge(group, self._local.take(hits))


def _connect(url: str) -> "RedisWindows":
    # Its library takes a third of the time that the gateway needs to start, and most gateways have no shared store.
    from kpi_gateway.limits.redis import RedisWindows  # noqa: PLC0415

    return RedisWindows(url, timeout=STORE_TIMEOUT_SECONDS)


def judge(group: PolicyGroup, outcome: LimitOutcome) -> Decision:
    """What the outcome of all policies of the group means for the response."""
    return _accept(group, outcome.usages) if outcome.allowed else _refuse(group, outcome.usages)


def _accept(group: PolicyGroup, usages: Sequence[Usage]) -> Decision:
    states = []
    for policy, usage in zip(group.policies, usages, strict=True):
        policy.allowed += 1
        states.append(_PolicyState(policy, policy.requests - usage.used(policy.window), math.ceil(usage.left)))
    return Decision(_header_fields(group, states))


def _refuse(group: PolicyGroup, usages: Sequence[Usage]) -> Decision:
    states = []
    wait = 0
    for policy, usage in zip(group.policies, usages, strict=True):
        remaining = policy.requests - usage.used(policy.window)
        if remaining > 0:
            states.append(_PolicyState(policy, remaining, math.ceil(usage.left)))
            continue
        policy.limited += 1
        # One more request is allowed after that time has passed, not at that moment.
        after = math.floor(usage.wait(policy)) + 1
        states.append(_PolicyState(policy, 0, after))
        wait = max(wait, after)
    fields = _header_fields(group, states)
    return Decision(fields, TooManyRequestsError(wait, fields))


class _PolicyState(NamedTuple):
    """What remains of a policy's quota, and the seconds until more becomes available."""

    policy: Policy
    remaining: int
    reset: int


def _header_fields(group: PolicyGroup, states: Sequence[_PolicyState]) -> Headers:
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
