"""Rate limit policies: which of them apply to a request, and how response headers describe them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kpi_gateway.setting_types import ADDRESS, OWN, SITE_SUFFIX, SUBJECT, PolicySetting

# How many different quotas of API keys have a policy in memory.
_MAX_OWN = 1000


class Policy:
    """One quota: ``requests`` in any ``window`` seconds for each client, and how many it allowed and limited."""

    def __init__(self, name: str, setting: PolicySetting) -> None:
        self.name = name
        self.requests = setting.requests
        self.window = setting.window
        # The keys of the library `limits`, which earlier versions used. Replicas of both versions share a store.
        self._key_head, self._key_tail = f"kpi/{name}/", f"/{self.requests}/{self.window}/second"
        self.requests_text = b"%d" % self.requests
        self.quota = f'"{name}";q={self.requests};w={self.window}'.encode()
        self.state = f'"{name}";r=%d;t=%d'.encode()
        self.allowed = 0
        self.limited = 0

    def key(self, client: str) -> str:
        return f"{self._key_head}{client}{self._key_tail}"


class PolicyGroup(NamedTuple):
    """The policies that apply together to one kind of request, and the header field that names them.

    ``by_address`` are those whose client is the address; then those follow whose client is its site, and the one of the
    subject, if there are any.
    """

    policies: tuple[Policy, ...]
    by_address: tuple[Policy, ...]
    by_site: tuple[Policy, ...]
    field: tuple[bytes, bytes]

    @classmethod
    def of(cls, by_address: Sequence[Policy], by_site: Sequence[Policy], rest: Sequence[Policy]) -> "PolicyGroup":
        policies = (*by_address, *by_site, *rest)
        field = b", ".join([each.quota for each in policies])
        return cls(policies, tuple(by_address), tuple(by_site), (b"ratelimit-policy", field))


class Policies:
    """All policies, and which of them apply to a request.

    Each policy for an address has a twin for its site, with ``site_factor`` times the quota.
    """

    def __init__(self, general: PolicySetting, stricter: Mapping[str, PolicySetting], *, site_factor: int = 8) -> None:
        per_address = {ADDRESS: general, **stricter}
        self.by_name = {name: Policy(name, setting) for name, setting in per_address.items()}
        for name, setting in per_address.items():
            site = setting.model_copy(update={"requests": setting.requests * site_factor})
            self.by_name[name + SITE_SUFFIX] = Policy(name + SITE_SUFFIX, site)
        self.by_name[SUBJECT] = Policy(SUBJECT, general)
        self._own: dict[tuple[int, int], Policy] = {}
        # The counts of the policies that had to make room.
        self._forgotten = (0, 0)
        self._groups = {
            (name, has_site, has_subject): self._group(name, has_site=has_site, has_subject=has_subject)
            for name in (None, *stricter)
            for has_site in (False, True)
            for has_subject in (False, True)
        }

    def group(self, stricter: str | None, *, has_site: bool, has_subject: bool) -> PolicyGroup:
        """The policies of a route with a ``stricter`` one or none, for a request with or without a valid token."""
        return self._groups[stricter, has_site, has_subject]

    def find_own(self, setting: PolicySetting) -> Policy:
        """The policy of the API keys with this quota of their own."""
        quota = (setting.requests, setting.window)
        policy = self._own.get(quota)
        if policy is None:
            if len(self._own) >= _MAX_OWN:
                self._forget_own(next(iter(self._own)))
            policy = self._own[quota] = Policy(OWN, setting)
        return policy

    def own_counts(self) -> tuple[int, int]:
        """How many requests the quotas of API keys allowed and limited."""
        allowed, limited = self._forgotten
        policies = self._own.values()
        return allowed + sum(each.allowed for each in policies), limited + sum(each.limited for each in policies)

    def _forget_own(self, quota: tuple[int, int]) -> None:
        policy = self._own.pop(quota)
        allowed, limited = self._forgotten
        self._forgotten = (allowed + policy.allowed, limited + policy.limited)

    def _group(self, stricter: str | None, *, has_site: bool, has_subject: bool) -> PolicyGroup:
        names = [ADDRESS, *([stricter] if stricter else [])]
        by_address = [self.by_name[name] for name in names]
        by_site = [self.by_name[name + SITE_SUFFIX] for name in names] if has_site else []
        return PolicyGroup.of(by_address, by_site, [self.by_name[SUBJECT]] if has_subject else [])
