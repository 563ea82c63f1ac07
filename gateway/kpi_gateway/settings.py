"""What the gateway can be told: where the services are, which paths are theirs, who may call from a browser."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from kpi_shared.addresses import Networks, parse_networks
from kpi_shared.parts import Part
from kpi_shared.server.connections import ConnectionLimits
from kpi_shared.settings import CommaSeparated, Environment, OptionalTokenSettings
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from kpi_gateway.policies import PolicySettings, Requests, WindowSeconds
from kpi_gateway.upstream import Timeouts

PART = Part(name="gateway", package="kpi_gateway", port=8000)

_ORIGIN = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_STORES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss"}
_STORE_PORT = 6379
# The gateway's own addresses, which no upstream can take.
_RESERVED = ("/api", "/docs", "/health", "/openapi.json")


def _checked_origin(value: str) -> str:
    if value == "*":
        # The Fetch standard refuses the wildcard for requests with credentials, which the gateway allows.
        raise ValueError("'*' cannot be combined with credentials; name the origins")
    origin = value.lower()
    if not _ORIGIN.fullmatch(origin):
        raise ValueError("an origin is scheme://host or scheme://host:port, with no path")
    return origin


def _checked_upstream(value: str) -> str:
    base = value.rstrip("/").lower()
    if not _ORIGIN.fullmatch(base):
        raise ValueError(f"{value!r} is not an upstream; http://host or http://host:port is needed, with no path")
    return base


def _checked_prefix(value: str) -> str:
    if not _PREFIX.fullmatch(value):
        raise ValueError(f"{value!r} is not a prefix; one or more plain segments such as /posts are needed")
    if any(value == own or value.startswith(f"{own}/") for own in _RESERVED):
        raise ValueError(f"{value!r} is an address of the gateway itself")
    return value


def _checked_origins(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_checked_origin(value) for value in values)


def _checked_upstreams(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("an upstream needs an address")
    return tuple(dict.fromkeys(_checked_upstream(value) for value in values))


# One address or several, separated by commas.
UpstreamUrls = Annotated[CommaSeparated, AfterValidator(_checked_upstreams)]


def _checked_storage_url(value: SecretStr) -> SecretStr:
    """An address that the Redis client takes; Valkey speaks the same protocol. Messages do not show the password."""
    scheme, _, rest = value.get_secret_value().partition("://")
    if scheme not in _STORES or not rest:
        raise ValueError(f"an address of the form {', '.join(f'{name}://' for name in _STORES)} host:port is needed")
    parts = urlsplit(f"{_STORES[scheme]}://{rest}")
    try:
        # Asking for the port is what checks it.
        named = parts.hostname and parts.port != 0
    except ValueError:
        named = None
    if not named:
        raise ValueError("the address has no valid host and port")
    if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ValueError("after the host and port only the number of a database may stand")
    # The library assumes no port.
    netloc = parts.netloc if parts.port else f"{parts.netloc.rstrip(':')}:{_STORE_PORT}"
    return SecretStr(parts._replace(netloc=netloc).geturl())


StorageUrl = Annotated[SecretStr, AfterValidator(_checked_storage_url)]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Origins = Annotated[CommaSeparated, AfterValidator(_checked_origins)]


class RouteSetting(BaseModel):
    """One row of the route table: requests under ``prefix`` go to ``upstream``.

    With ``methods`` only those with one of them do, and with ``exact`` only those to the prefix itself. ``limit`` names
    a policy that counts beside the general one. Of the rows that fit, the one with the longest prefix counts, and of
    two with the same, the one that names methods. The others are the row's own in place of the settings of all: times
    in seconds, ``body_limit`` in bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefix: Annotated[str, AfterValidator(_checked_prefix)]
    upstream: str
    connect_timeout: float | None = Field(default=None, gt=0, le=60)
    read_timeout: float | None = Field(default=None, gt=0, le=600)
    total_timeout: float | None = Field(default=None, gt=0, le=3600)
    body_limit: int | None = Field(default=None, ge=0)
    methods: tuple[Method, ...] = ()
    exact: bool = False
    limit: str | None = None


def _posting(limit: str, *addresses: str) -> tuple[RouteSetting, ...]:
    return tuple(
        RouteSetting(prefix=address, upstream="auth", methods=("POST",), exact=True, limit=limit)
        for address in addresses
    )


_ROUTES = (
    RouteSetting(prefix="/auth", upstream="auth"),
    RouteSetting(prefix="/users", upstream="auth"),
    RouteSetting(prefix="/audit", upstream="auth"),
    RouteSetting(prefix="/posts", upstream="content"),
    RouteSetting(prefix="/votes", upstream="content"),
    # Whatever takes a password, a code or an outside token, by which somebody could guess.
    *_posting("login", "/auth/login", "/auth/exchange", "/auth/change-password", "/auth/change-email"),
    *_posting("login", "/auth/verify-email"),
    # An account is deleted with its password.
    RouteSetting(prefix="/users", upstream="auth", methods=("DELETE",), limit="login"),
    RouteSetting(prefix="/auth/verify_supabase_token", upstream="auth", limit="login"),
    *_posting("registration", "/users", "/auth/register"),
    # What sends a mail to somebody, and what comes of it.
    *_posting("reset", "/auth/forgot-password", "/auth/reset-password", "/auth/resend-verification"),
)


class GatewaySettings(OptionalTokenSettings):
    """The gateway's settings; times are in seconds. With the tokens' key, requests count for their subjects too."""

    part: ClassVar[Part] = PART

    auth_url: UpstreamUrls = ("http://127.0.0.1:8001",)
    content_url: UpstreamUrls = ("http://127.0.0.1:8002",)
    # Further upstreams by name.
    upstreams: dict[str, UpstreamUrls] = Field(default_factory=dict)
    routes: tuple[RouteSetting, ...] = _ROUTES
    cors_origins: Origins = ()
    # Networks of the proxies in front of this one, whose X-Forwarded-For is believed.
    trusted_proxies: Networks = ()
    # Of one client address (IPv6: of one /64); proxies that are trusted have no bound.
    max_connections_per_address: int = Field(default=2_000, ge=1, le=1_000_000)
    # Strict-Transport-Security of every answer in production; 0 leaves it out.
    hsts_seconds: int = Field(default=31_536_000, ge=0)

    upstream_connect_timeout: float = Field(default=2.0, gt=0, le=60)
    # The longest silence of an upstream that owes an answer.
    upstream_read_timeout: float = Field(default=15.0, gt=0, le=600)
    # The whole exchange, both bodies included.
    upstream_total_timeout: float = Field(default=60.0, gt=0, le=3600)
    upstream_connections: int = Field(default=100, ge=1, le=10_000)
    # How many of them one client address may have; nothing: half of them.
    upstream_connections_per_client: int | None = Field(default=None, ge=1, le=10_000)
    # How long a request waits for a place when all of them are taken.
    upstream_queue_timeout: float = Field(default=1.0, gt=0, le=60)
    # An address that fails so often in a row gets no more requests, and is asked so often whether it is back.
    upstream_max_failures: int = Field(default=3, ge=1, le=1000)
    upstream_probe_interval: float = Field(default=1.0, gt=0, le=60)
    # Bytes of a request's body. 40,000 characters of text may take 12 bytes each when a client escapes them all.
    body_limit: int = Field(default=1024 * 1024, ge=0)

    rate_limit_enabled: bool = True
    # For each client address, and again for each token's subject.
    rate_limit_requests: Requests = 1000
    rate_limit_window: WindowSeconds = 60
    # The stricter policies that rows of the route table name.
    rate_limit_policies: PolicySettings = Field(default_factory=dict)
    # Where replicas count together; without it each counts by itself.
    rate_limit_storage_url: StorageUrl | None = None

    @property
    def server_options(self) -> dict[str, Any]:
        limits = ConnectionLimits(self.max_connections_per_address, parse_networks(self.trusted_proxies))
        secure = self.app_env is Environment.PRODUCTION and self.hsts_seconds
        hsts = (("Strict-Transport-Security", f"max-age={self.hsts_seconds}; includeSubDomains"),)
        return {"limits": limits, "headers": hsts if secure else ()}

    @property
    def upstream_urls(self) -> Mapping[str, tuple[str, ...]]:
        return {"auth": self.auth_url, "content": self.content_url, **self.upstreams}

    @property
    def places_per_client(self) -> int:
        return self.upstream_connections_per_client or max(1, self.upstream_connections // 2)

    @property
    def timeouts(self) -> Timeouts:
        return Timeouts(self.upstream_connect_timeout, self.upstream_read_timeout, self.upstream_total_timeout)

    def timeouts_of(self, route: RouteSetting) -> Timeouts:
        general = self.timeouts
        return Timeouts(
            route.connect_timeout or general.connect,
            route.read_timeout or general.read,
            route.total_timeout or general.total,
        )

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> Self:
        served = [(route.prefix, route.exact, method) for route in self.routes for method in route.methods or ("",)]
        if len(set(served)) < len(served):
            raise ValueError("ROUTES: a prefix stands there twice")
        nameless = {route.limit for route in self.routes if route.limit} - set(self.rate_limit_policies)
        if nameless:
            raise ValueError(f"ROUTES: RATE_LIMIT_POLICIES has no {', '.join(sorted(nameless))}")
        unknown = {route.upstream for route in self.routes} - set(self.upstream_urls)
        if unknown:
            raise ValueError(f"ROUTES: no address is known for {', '.join(sorted(unknown))}; add it to UPSTREAMS")
        return self
