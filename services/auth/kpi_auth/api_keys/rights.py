"""What an API key may have at most: no more than its owner, and no more than the key that makes or changes it."""

import ipaddress
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from kpi_shared.addresses import Network
from kpi_shared.caller import Role, Scope, Subject, expand_scopes
from kpi_shared.database import AnyRow

from kpi_auth.api_keys.errors import BeyondRightsError


class Rate(NamedTuple):
    requests: int
    window: int

    def is_within(self, other: "Rate") -> bool:
        """Whether this rate can never exceed the other one: not in any window of the other's length."""
        return math.ceil(other.window / self.window) * self.requests <= other.requests


class Bounds(NamedTuple):
    """``expires_at`` None: no end. ``networks`` empty: everywhere. ``rate_limit`` None: no limit of its own."""

    scopes: frozenset[Scope]
    expires_at: datetime | None
    networks: tuple[Network, ...]
    rate_limit: Rate | None


def scopes_of_role(role: str) -> frozenset[Scope]:
    return frozenset(Scope) if role == Role.ADMIN else frozenset({Scope.READ, Scope.WRITE})


def find_bounds(caller: Subject, *, owner_role: str, own: AnyRow | None) -> Bounds:
    """``own`` is the key that the caller uses, or None for a person."""
    scopes = scopes_of_role(owner_role)
    if own is None:
        return Bounds(scopes, None, (), None)
    networks = parse_all(own.allowed_networks)
    return Bounds(scopes & (caller.scopes or frozenset()), own.expires_at, networks, _rate_of(own._asdict()))


def apply_bounds(bounds: Bounds, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns, with the bounds where no end, network or rate was given; BeyondRightsError for what exceeds them."""
    applied = dict(columns)
    if "expires_at" in columns and columns["expires_at"] is None:
        applied["expires_at"] = bounds.expires_at
    if "allowed_networks" in columns and not columns["allowed_networks"]:
        applied["allowed_networks"] = [str(network) for network in bounds.networks]
    exceeded = [name for name in applied if _exceeds(bounds, name, applied[name])]
    if bounds.rate_limit is not None and "rate_limit_requests" in columns:
        rate = _rate_of(columns) or bounds.rate_limit
        applied["rate_limit_requests"], applied["rate_limit_window"] = rate
        exceeded += [] if rate.is_within(bounds.rate_limit) else ["rate_limit"]
    if exceeded:
        raise BeyondRightsError(exceeded)
    return applied


def check_manageable(caller: Subject, row: AnyRow) -> None:
    """A key manages only keys that can do no more than itself: otherwise it could get the text of a stronger one."""
    if caller.scopes is not None and not set(expand(row.scopes)) <= caller.scopes:
        raise BeyondRightsError(["scopes"])


def is_narrower(after: AnyRow, before: AnyRow) -> bool:
    """Whether a key has lost something by a change: a scope, a network, or time."""
    bounds = Bounds(frozenset(expand(after.scopes)), after.expires_at, parse_all(after.allowed_networks), None)
    had_all = bounds.networks and not before.allowed_networks
    had_no_end = bounds.expires_at is not None and before.expires_at is None
    if had_all or had_no_end:
        return True
    return any(_exceeds(bounds, name, getattr(before, name)) for name in ("scopes", "expires_at", "allowed_networks"))


def expand(scopes: Sequence[str]) -> tuple[Scope, ...]:
    return expand_scopes(Scope(scope) for scope in scopes)


def parse_all(networks: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(network) for network in networks)


def _rate_of(columns: Mapping[str, Any]) -> Rate | None:
    requests = columns["rate_limit_requests"]
    return None if requests is None else Rate(requests, columns["rate_limit_window"])


def _exceeds(bounds: Bounds, name: str, value: Any) -> bool:  # noqa: ANN401 the value of any column
    if name == "scopes":
        return not set(expand(value)) <= bounds.scopes
    if name == "expires_at":
        return bounds.expires_at is not None and value > bounds.expires_at
    if name == "allowed_networks" and bounds.networks:
        return not all(_is_within(network, bounds.networks) for network in parse_all(value))
    return False


def _is_within(network: Network, others: Sequence[Network]) -> bool:
    return any(network.version == other.version and network.subnet_of(other) for other in others)  # type: ignore[arg-type]
