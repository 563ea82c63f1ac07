"""The gateway's settings: the upstreams, the route table, rate limits, and which origins browsers may call from."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from kpi_shared.addresses import Networks, parse_networks
from kpi_shared.findings import create_finding
from kpi_shared.parts import Part
from kpi_shared.server.connections import ConnectionLimits
from kpi_shared.settings import CommaSeparated, Environment, OptionalTokenSettings, PartSettings, SecretKey
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from kpi_gateway.origins import DEVELOPMENT_ORIGINS, Origins, parse_base, refusal_headers

PART = Part(name="gateway", package="kpi_gateway", port=8000)

# The name of auth's internal port among the upstreams.
INTERNAL = "auth-internal"
NO_KEYS = "AUTH_INTERNAL_URL and INTERNAL_KEY are not set: no API key is accepted"
_SET_KEYS = "set AUTH_INTERNAL_URL to the internal port of auth, and INTERNAL_KEY to the same key as there"
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
_STRICTER = {
    "login": PolicySetting(requests=20),
    "registration": PolicySetting(requests=10),
    "reset": PolicySetting(requests=5),
    CREDENTIALS: PolicySetting(requests=20),
}


def _add_default_policies(values: dict[str, PolicySetting]) -> dict[str, PolicySetting]:
    for name in values:
        # The name is part of a header field and of the store's keys.
        if not _POLICY_NAME.fullmatch(name) or name in {ADDRESS, SUBJECT, OWN} or name.endswith(SITE_SUFFIX):
            raise ValueError(f"{name!r} is not a policy name; use lower-case letters, digits and hyphens")
    return {**_STRICTER, **values}


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


# Of endpoints that call an identity provider: auth gives it 5 s.
_PROVIDER_SECONDS = 7.0


def _post_routes(limit: str, *addresses: str, seconds: float | None = None) -> tuple[RouteSetting, ...]:
    return tuple(
        RouteSetting(prefix=address, upstream="auth", methods=("POST",), exact=True, limit=limit, read_timeout=seconds)
        for address in addresses
    )


_ROUTES = (
    RouteSetting(prefix="/auth", upstream="auth"),
    RouteSetting(prefix="/users", upstream="auth"),
    RouteSetting(prefix="/audit", upstream="auth"),
    RouteSetting(prefix="/api-keys", upstream="auth"),
    RouteSetting(prefix="/webhooks", upstream="auth"),
    RouteSetting(prefix="/bootstrap", upstream="auth"),
    RouteSetting(prefix="/posts", upstream="content", costly_parameters=("search", "total")),
    RouteSetting(prefix="/votes", upstream="content"),
    # Each needs a token, also a search: the service itself limits what one account may ask for.
    # A message of 100,000 characters may take 12 bytes for each.
    RouteSetting(prefix="/conversations", upstream="content", streams_bodies=True, body_limit=2 * 1024 * 1024),
    RouteSetting(prefix="/messages", upstream="content"),
    # Endpoints that accept a password, a code or an external token, which an attacker could guess.
    *_post_routes("login", "/auth/login", "/auth/login/json", "/auth/change-password", "/auth/change-email"),
    *_post_routes("login", "/auth/exchange", seconds=_PROVIDER_SECONDS),
    *_post_routes("login", "/auth/verify-email", "/api-keys/self/revoke", "/bootstrap"),
    # Deleting an account requires its password.
    RouteSetting(prefix="/users", upstream="auth", methods=("DELETE",), limit="login"),
    RouteSetting(
        prefix="/auth/verify_supabase_token",
        upstream="auth",
        limit="login",
        read_timeout=_PROVIDER_SECONDS,
        has_effects=True,
    ),
    *_post_routes("registration", "/users", "/auth/register"),
    # Endpoints that send a mail, and the one that uses the code in it.
    *_post_routes("reset", "/auth/forgot-password", "/auth/reset-password", "/auth/resend-verification"),
)


class ServiceAddresses(PartSettings):
    """The addresses of each service: ``billing_url`` for the rows of the route table with the upstream ``billing``."""

    auth_url: UpstreamUrls = ("http://127.0.0.1:8001",)
    content_url: UpstreamUrls = ("http://127.0.0.1:8002",)

    @property
    def service_urls(self) -> dict[str, tuple[str, ...]]:
        names = [name for name in ServiceAddresses.model_fields if name not in PartSettings.model_fields]
        return {name.removesuffix("_url"): getattr(self, name) for name in names}


class GatewaySettings(ServiceAddresses, OptionalTokenSettings):
    """The gateway's settings; times are in seconds. With the token key, rate limits also apply per token subject."""

    part: ClassVar[Part] = PART

    # The addresses of auth's internal port, and the key by which the gateway is known there; None: no API keys.
    auth_internal_url: Annotated[UpstreamUrls | None, NoDecode] = None
    internal_key: SecretKey | None = None
    # Further upstreams by name.
    upstreams: dict[str, UpstreamUrls] = Field(default_factory=dict)
    routes: tuple[RouteSetting, ...] = _ROUTES
    # Not set: those of front ends in development.
    cors_origins: Annotated[Origins | None, NoDecode] = None
    # Networks of the proxies in front of the gateway, whose X-Forwarded-For is trusted.
    trusted_proxies: Networks = ()
    # Connections of one client address (IPv6: of one /64); trusted proxies have no limit.
    max_connections_per_address: int = Field(default=2_000, ge=1, le=1_000_000)
    # How many times the limits of an address apply to a /48 of IPv6, connections and rate limits alike.
    ipv6_site_factor: int = Field(default=8, ge=1, le=65_536)
    # Strict-Transport-Security in every response in production; 0 omits it.
    hsts_seconds: int = Field(default=31_536_000, ge=0)

    upstream_connect_timeout: float = Field(default=2.0, gt=0, le=60)
    # From the complete request to the start of its response, with all waits and a second attempt.
    upstream_read_timeout: float = Field(default=2.5, gt=0, le=600)
    # The longest pause within a body, in either direction; at least the read timeout.
    upstream_silence_timeout: float = Field(default=15.0, gt=0, le=600)
    # The whole round trip, including both bodies.
    upstream_total_timeout: float = Field(default=60.0, gt=0, le=3600)
    upstream_connections: int = Field(default=100, ge=1, le=10_000)
    # How many of these one client address may use; not set: half of them.
    upstream_connections_per_client: int | None = Field(default=None, ge=1, le=10_000)
    # How many costly requests are in flight at once for each address of a service: enough to keep it busy.
    costly_requests_per_address: int = Field(default=4, ge=1, le=1000)
    # How long a request waits for a place when all are in use; it is refused at once if that will not be enough.
    upstream_queue_timeout: float = Field(default=1.0, gt=0, le=60)
    # The interval of the probes of each address, if an upstream has several, and the time that each may take.
    upstream_probe_interval: float = Field(default=0.5, gt=0, le=60)
    # Streams that are open at once, in all; they take no place of ordinary requests.
    stream_connections: int = Field(default=2_000, ge=1, le=100_000)
    # How many of these one client address may use; not set: a tenth of them, since a stream does not end soon.
    stream_connections_per_client: int | None = Field(default=None, ge=1, le=100_000)
    # The longest pause within a stream, in either direction. Services send something every 15 s.
    stream_silence_timeout: float = Field(default=45.0, gt=0, le=3600)
    # Size of a streamed upload in bytes: 100,000 characters, each in an event of its own and escaped.
    stream_body_limit: int = Field(default=16 * 1024 * 1024, ge=0)
    # After this many failures in a row an address is probed at once.
    upstream_max_failures: int = Field(default=3, ge=1, le=1000)
    # Size of a request body in bytes. 40,000 characters may take 12 bytes each when a client escapes them all.
    body_limit: int = Field(default=1024 * 1024, ge=0)

    rate_limit_enabled: bool = True
    # For each client address, and separately for each token subject.
    rate_limit_requests: Requests = 1000
    rate_limit_window: WindowSeconds = 60
    # The stricter policies that rows of the route table refer to.
    rate_limit_policies: PolicySettings = Field(default_factory=dict)
    # Where replicas share their counts; without it each process counts on its own.
    rate_limit_storage_url: StorageUrl | None = None

    @property
    def server_options(self) -> dict[str, Any]:
        most = self.max_connections_per_address
        limits = ConnectionLimits(most, parse_networks(self.trusted_proxies), most * self.ipv6_site_factor)
        secure = self.app_env is Environment.PRODUCTION and self.hsts_seconds
        hsts = (("Strict-Transport-Security", f"max-age={self.hsts_seconds}; includeSubDomains"),)
        return {
            "limits": limits,
            "headers": hsts if secure else (),
            "refusal_headers": partial(refusal_headers, self.allowed_origins),
        }

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins that may call from a browser."""
        if self.cors_origins is not None:
            return self.cors_origins
        return DEVELOPMENT_ORIGINS if self.app_env is Environment.DEVELOPMENT else ()

    @property
    def upstream_urls(self) -> Mapping[str, tuple[str, ...]]:
        return {**self.service_urls, **self.upstreams}

    @property
    def client_urls(self) -> Mapping[str, tuple[str, ...]]:
        """All addresses that the gateway sends requests to: those of its routes, and the internal port of auth."""
        internal = {INTERNAL: self.auth_internal_url} if self.auth_internal_url else {}
        return {**self.upstream_urls, **internal}

    @property
    def findings(self) -> list[dict[str, object]]:
        is_on = self.auth_internal_url is not None
        is_required = self.app_env is Environment.PRODUCTION
        detail = "accepted" if is_on else NO_KEYS
        return [
            *super().findings,
            create_finding("API keys", ok=is_on or not is_required, detail=detail, fix=_SET_KEYS),
        ]

    @property
    def places_per_client(self) -> int:
        return self.upstream_connections_per_client or max(1, self.upstream_connections // 2)

    @property
    def streams_per_client(self) -> int:
        return self.stream_connections_per_client or max(1, self.stream_connections // 10)

    @property
    def timeouts(self) -> Timeouts:
        read = self.upstream_read_timeout
        silence = max(read, self.upstream_silence_timeout)
        return Timeouts(self.upstream_connect_timeout, read, silence, self.upstream_total_timeout)

    def timeouts_of(self, route: RouteSetting) -> Timeouts:
        general = self.timeouts
        read = route.read_timeout or general.read
        return Timeouts(
            route.connect_timeout or general.connect,
            read,
            max(read, self.upstream_silence_timeout),
            route.total_timeout or general.total,
        )

    @model_validator(mode="after")
    def _check_internal_port(self) -> Self:
        if self.auth_internal_url is None:
            return self
        if self.internal_key is None:
            raise ValueError("AUTH_INTERNAL_URL: set INTERNAL_KEY too, the key by which auth knows the gateway")
        if INTERNAL in self.upstreams:
            raise ValueError(f"UPSTREAMS: {INTERNAL} is the gateway's own name for AUTH_INTERNAL_URL")
        public = {url for urls in self.upstream_urls.values() for url in urls}
        if public.intersection(self.auth_internal_url):
            raise ValueError("AUTH_INTERNAL_URL: no route may lead to the internal port; give it an address of its own")
        return self

    @model_validator(mode="after")
    def _check_routes(self) -> Self:
        served = [(route.prefix, route.exact, method) for route in self.routes for method in route.methods or ("",)]
        if len(set(served)) < len(served):
            raise ValueError("ROUTES: a prefix is listed twice")
        missing = {route.limit for route in self.routes if route.limit} - set(self.rate_limit_policies)
        if missing:
            raise ValueError(f"ROUTES: RATE_LIMIT_POLICIES has no {', '.join(sorted(missing))}")
        unknown = {route.upstream for route in self.routes} - set(self.upstream_urls)
        if unknown:
            raise ValueError(f"ROUTES: no address is configured for {', '.join(sorted(unknown))}; add it to UPSTREAMS")
        return self
