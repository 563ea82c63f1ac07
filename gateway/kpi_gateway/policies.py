"""How much is allowed: quotas by name, and what answers say of them."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

from limits import RateLimitItemPerSecond
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# The quotas that count on every route: per client address, and per subject of a token.
ADDRESS = "address"
SUBJECT = "subject"
DAY_SECONDS = 86_400
MOST_REQUESTS = 1_000_000
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")

Requests = Annotated[int, Field(ge=1, le=MOST_REQUESTS)]
WindowSeconds = Annotated[int, Field(ge=1, le=DAY_SECONDS)]


class PolicySetting(BaseModel):
    """So many requests in any ``window`` seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: Requests
    window: WindowSeconds = 60


# What a browser's user can need and a guesser cannot live on. A row of the route table names one of them.
_STRICTER = {
    "login": PolicySetting(requests=20),
    "registration": PolicySetting(requests=10),
    "reset": PolicySetting(requests=5),
}


def _completed(values: dict[str, PolicySetting]) -> dict[str, PolicySetting]:
    for name in values:
        # The name stands in a header field and in the store's keys.
        if not _NAME.fullmatch(name) or name in {ADDRESS, SUBJECT}:
            raise ValueError(f"{name!r} is no name for a policy; lower-case letters, digits and hyphens are needed")
    return {**_STRICTER, **values}


# By name; those that are not named keep their defaults.
PolicySettings = Annotated[dict[str, PolicySetting], AfterValidator(_completed), Field(validate_default=True)]


class Policy:
    """One quota: ``requests`` in any ``window`` seconds for each client, and how often it said yes and no."""

    def __init__(self, name: str, setting: PolicySetting) -> None:
        self.name = name
        self.requests = setting.requests
        self.window = setting.window
        self.item = RateLimitItemPerSecond(setting.requests, setting.window, namespace="kpi")
        # The library's own key, taken apart once so that it need not be built anew for each request.
        self._head, self._tail = self.item.key_for(name, "\0").split("\0")
        self.requests_text = b"%d" % self.requests
        self.quota = f'"{name}";q={self.requests};w={self.window}'.encode()
        self.state = f'"{name}";r=%d;t=%d'.encode()
        self.allowed = 0
        self.limited = 0

    def key(self, client: str) -> str:
        return f"{self._head}{client}{self._tail}"


class Group(NamedTuple):
    """The policies that count together for one kind of request, and the header field that names them."""

    policies: tuple[Policy, ...]
    field: tuple[bytes, bytes]

    @classmethod
    def of(cls, policies: Sequence[Policy]) -> "Group":
        return cls(tuple(policies), (b"ratelimit-policy", b", ".join([policy.quota for policy in policies])))


class Policies:
    """All policies, and which of them count for a request."""

    def __init__(self, general: PolicySetting, stricter: Mapping[str, PolicySetting]) -> None:
        settings = {ADDRESS: general, SUBJECT: general, **stricter}
        self.by_name = {name: Policy(name, setting) for name, setting in settings.items()}
        self._groups = {
            (name, signed): Group.of([self.by_name[each] for each in _counting(name, signed=signed)])
            for name in (None, *stricter)
            for signed in (False, True)
        }

    def group(self, stricter: str | None, *, signed: bool) -> Group:
        """Those of a route with a ``stricter`` policy, for a request with or without a token that counts."""
        return self._groups[stricter, signed]


def _counting(stricter: str | None, *, signed: bool) -> list[str]:
    # The subject's stands last: it alone is for another client than the address.
    return [ADDRESS, *([stricter] if stricter else []), *([SUBJECT] if signed else [])]
