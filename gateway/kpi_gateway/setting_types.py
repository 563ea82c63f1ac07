"""The types of the gateway's settings: addresses, the rows of the route table, and rate limit policies."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from kpi_shared.settings import CommaSeparated
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from kpi_gateway.origins import parse_base

_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_STORES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss"}
_STORE_PORT = 6379
# Paths that the gateway serves itself; no route may use them.
_RESERVED = ("/api", "/docs", "/health", "/openapi.json", "/redoc")


# A service gets at least this much time, even if what came before took all of it.
_LEAST_SECONDS = 0.1


class Timeouts(NamedTuple):
    """In seconds: to connect, from the complete request to the start of the response including all waits before it, the
    longest pause within a body, and the whole round trip.
    """

    connect: float
    read: float
    silence: float
    total: float

    def spend(self, seconds: float) -> Self:
        """The same with that much less time for the response to begin."""
        return self._replace(read=max(_LEAST_SECONDS, self.read - seconds))


# The policies that apply on every route: per client address, and per token subject.
ADDRESS = "address"
SUBJECT = "subject"
# The policy of wrong API keys per client address, and the one that an API key may have of its own.
CREDENTIALS = "credentials"
OWN = "key"
# Follows the name of a policy that counts a /48 of IPv6.
SITE_SUFFIX = "-site"
_MAX_REQUESTS = 1_000_000
_DAY_SECONDS = 86_400
_POLICY_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")

Requests = Annotated[int, Field(ge=1, le=_MAX_REQUESTS)]
WindowSeconds = Annotated[int, Field(ge=1, le=_DAY_SECONDS)]


class PolicySetting(BaseModel):
    """At most ``requests`` in any ``window`` seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: Requests
    window: WindowSeconds = 60


# Enough for a person in a browser, too few for guessing. Rows of the route table refer to these by name.
STRICTER = {
    "login": PolicySetting(requests=20),
    "registration": PolicySetting(requests=10),
    "reset": PolicySetting(requests=5),
    CREDENTIALS: PolicySetting(requests=20),
}


def describe_policies(policies: Mapping[str, PolicySetting]) -> str:
    return json.dumps({name: policy.model_dump() for name, policy in policies.items()})


def _add_default_policies(values: dict[str, PolicySetting]) -> dict[str, PolicySetting]:
    for name in values:
        # The name is part of a header field and of the store's keys.
        if not _POLICY_NAME.fullmatch(name) or name in {ADDRESS, SUBJECT, OWN} or name.endswith(SITE_SUFFIX):
            raise ValueError(f"{name!r} is not a policy name; use lower-case letters, digits and hyphens")
    return {**STRICTER, **values}


# By name; policies that are left out keep their defaults.
PolicySettings = Annotated[
    dict[str, PolicySetting], AfterValidator(_add_default_policies), Field(validate_default=True)
]


def _parse_upstream(value: str) -> str:
    base = parse_base(value.rstrip("/"))
    if base is None:
        raise ValueError(f"{value!r} is not an upstream address; use http://host or http://host:port, with no path")
    return base


def _check_prefix(value: str) -> str:
    if not _PREFIX.fullmatch(value):
        raise ValueError(f"{value!r} is not a prefix; use one or more plain segments such as /posts")
    if any(value == own or value.startswith(f"{own}/") for own in _RESERVED):
        raise ValueError(f"{value!r} is a path that the gateway serves itself")
    return value


def _parse_upstreams(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("an upstream needs at least one address")
    return tuple(dict.fromkeys(_parse_upstream(value) for value in values))


# One or more addresses, separated by commas.
UpstreamUrls = Annotated[CommaSeparated, AfterValidator(_parse_upstreams)]


def _parse_storage_url(value: SecretStr) -> SecretStr:
    """An address that the Redis client accepts; Valkey uses the same protocol. Messages never show the password."""
    scheme, _, rest = value.get_secret_value().partition("://")
    if scheme not in _STORES or not rest:
        raise ValueError(f"an address of the form {', '.join(f'{name}://' for name in _STORES)} host:port is required")
    try:
        parts = urlsplit(f"{_STORES[scheme]}://{rest}")
        # Reading the port validates it.
        named = parts.hostname and parts.port != 0
    except ValueError:
        named = None
    if not named:
        raise ValueError("the address has no valid host and port")
    if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ValueError("only a database number may follow the host and port")
    # The client has no default port.
    netloc = parts.netloc if parts.port else f"{parts.netloc.rstrip(':')}:{_STORE_PORT}"
    return SecretStr(parts._replace(netloc=netloc).geturl())


StorageUrl = Annotated[SecretStr, AfterValidator(_parse_storage_url)]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class RouteSetting(BaseModel):
    """One row of the route table: requests under ``prefix`` go to ``upstream``.

    ``methods`` restricts the row to these methods, and ``exact`` to the prefix itself. ``limit`` names a policy that
    applies in addition to the general one; a GET that ``has_effects`` is never repeated, and one whose query has one of
    the ``costly_parameters`` needs one of the few places for costly requests. A row that ``streams_bodies`` passes on a
    body while it is written if the request asks for that. Among the rows that match, the longest prefix wins; with
    equal prefixes, the row that names methods wins. The other fields override the global settings for this row: times
    in seconds, ``body_limit`` in bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefix: Annotated[str, AfterValidator(_check_prefix)]
    upstream: str
    connect_timeout: float | None = Field(default=None, gt=0, le=60)
    read_timeout: float | None = Field(default=None, gt=0, le=600)
    total_timeout: float | None = Field(default=None, gt=0, le=3600)
    body_limit: int | None = Field(default=None, ge=0)
    methods: tuple[Method, ...] = ()
    exact: bool = False
    limit: str | None = None
    has_effects: bool = False
    costly_parameters: tuple[str, ...] = ()
    streams_bodies: bool = False
