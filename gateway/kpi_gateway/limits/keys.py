"""Rate limits of requests with an API key.

Before the key is known, the address must be allowed an exchange, and after it the key is counted. Wrong keys count
against their address: over that quota, it gets no further exchange.
"""

import math
import time
from collections import OrderedDict
from typing import NamedTuple

from kpi_gateway.limits.memory import Hit, LimitOutcome
from kpi_gateway.limits.policies import PolicyGroup
from kpi_gateway.limits.service import Headers, RateLimits, TooManyRequestsError, judge
from kpi_gateway.setting_types import CREDENTIALS, SITE_SUFFIX, SUBJECT, PolicySetting

_MAX_BLOCKED = 10_000
# Failures are counted as requests that change something are, also while the store is down.
_CHANGING = "POST"


class LimitedRequest(NamedTuple):
    """What the limits need to know of a request; ``stricter`` is the policy of its route, if it has one."""

    network: str
    site: str | None
    stricter: str | None
    method: str

    @property
    def clients(self) -> tuple[str, ...]:
        return (self.network,) if self.site is None else (self.network, self.site)


class Counted(NamedTuple):
    """A request that was counted for its address, and the header fields for its response."""

    outcome: LimitOutcome
    headers: Headers

    @property
    def fields(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.headers}


class KeyLimits:
    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._policies = limits.policies
        # Until when a network or a site gets no exchange of a key that was not valid here before.
        self._blocked: OrderedDict[str, float] = OrderedDict()

    def check_failures(self, request: LimitedRequest) -> None:
        """Raise TooManyRequestsError if there were too many wrong keys from this address."""
        for client in request.clients:
            left = self._blocked.get(client, 0.0) - time.monotonic()
            if left > 0:
                group = self._group_of_failures(request)
                raise TooManyRequestsError(math.floor(left) + 1, [group.field])

    async def take_address(self, request: LimitedRequest) -> Counted:
        """Count the request of an address only; raises TooManyRequestsError."""
        group = self._policies.group(request.stricter, has_site=request.site is not None, has_subject=False)
        outcome = await self._limits.take(_address_hits(group, request), request.method)
        return Counted(outcome, _allow(group, outcome))

    async def take_failure(self, request: LimitedRequest) -> None:
        """Count a wrong key; raises TooManyRequestsError if there were too many already."""
        group = self._group_of_failures(request)
        outcome = await self._limits.take(list(map(Hit, group.policies, request.clients)), _CHANGING)
        for (policy, client), usage in zip(
            zip(group.policies, request.clients, strict=True), outcome.usages, strict=True
        ):
            if usage.used(policy.window) >= policy.requests:
                self._block(client, usage.wait(policy))
        _allow(group, outcome)

    async def take_key(
        self, request: LimitedRequest, key: str, own: PolicySetting | None, counted: Counted | None
    ) -> Headers:
        """Count the request of a key; ``counted`` is the outcome of ``take_address`` if there was one.

        The header fields of the response; raises TooManyRequestsError.
        """
        policies = [self._policies.by_name[SUBJECT], *([self._policies.find_own(own)] if own is not None else [])]
        hits = [Hit(policy, key) for policy in policies]
        group = self._policies.group(request.stricter, has_site=request.site is not None, has_subject=False)
        if counted is None:
            hits = _address_hits(group, request) + hits
        outcome = await self._limits.take(hits, request.method)
        if counted is not None:
            outcome = LimitOutcome(outcome.allowed, [*counted.outcome.usages, *outcome.usages])
        whole = PolicyGroup.of(group.by_address, group.by_site, policies)
        if len(outcome.usages) < len(whole.policies):
            # The store went down or came back between the two calls.
            return []
        return _allow(whole, outcome)

    def _group_of_failures(self, request: LimitedRequest) -> PolicyGroup:
        names = (CREDENTIALS, CREDENTIALS + SITE_SUFFIX)[: len(request.clients)]
        return PolicyGroup.of((), (), [self._policies.by_name[name] for name in names])

    def _block(self, client: str, seconds: float) -> None:
        self._blocked[client] = time.monotonic() + seconds
        self._blocked.move_to_end(client)
        if len(self._blocked) > _MAX_BLOCKED:
            self._blocked.popitem(last=False)


def _address_hits(group: PolicyGroup, request: LimitedRequest) -> list[Hit]:
    hits = [Hit(policy, request.network) for policy in group.by_address]
    return hits + [Hit(policy, request.site or "") for policy in group.by_site]


def _allow(group: PolicyGroup, outcome: LimitOutcome) -> Headers:
    """The header fields of a response to a request that the outcome allows; raises TooManyRequestsError."""
    if not outcome.usages:
        return []
    decision = judge(group, outcome)
    if decision.error is not None:
        raise decision.error
    return decision.headers
