"""Rate limit policies: which of them apply to a request, and how response headers describe them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kpi_gateway.settings import ADDRESS, SUBJECT, PolicySetting


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

    ``by_address`` are those whose client is the address; the one that may follow is for the subject.
    """

    policies: tuple[Policy, ...]
    by_address: tuple[Policy, ...]
    field: tuple[bytes, bytes]

    @classmethod
    def of(cls, policies: Sequence[Policy]) -> "PolicyGroup":
        by_address = tuple(policy for policy in policies if policy.name != SUBJECT)
        return cls(tuple(policies), by_address, (b"ratelimit-policy", b", ".join([each.quota for each in policies])))


class Policies:
    """All policies, and which of them apply to a request."""

    def __init__(self, general: PolicySetting, stricter: Mapping[str, PolicySetting]) -> None:
        settings = {ADDRESS: general, SUBJECT: general, **stricter}
        self.by_name = {name: Policy(name, setting) for name, setting in settings.items()}
        self._groups = {
            (name, has_subject): PolicyGroup.of([self.by_name[each] for each in _names(name, has_subject=has_subject)])
            for name in (None, *stricter)
            for has_subject in (False, True)
        }

    def group(self, stricter: str | None, *, has_subject: bool) -> PolicyGroup:
        """The policies of a route with a ``stricter`` one or none, for a request with or without a valid token."""
        return self._groups[stricter, has_subject]


def _names(stricter: str | None, *, has_subject: bool) -> list[str]:
    return [ADDRESS, *([stricter] if stricter else []), *([SUBJECT] if has_subject else [])]
