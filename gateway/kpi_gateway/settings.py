"""The gateway's settings: the upstreams, the route table, rate limits, and which origins browsers may call from."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Self

from kpi_shared.addresses import Networks, parse_networks
from kpi_shared.findings import create_finding
from kpi_shared.parts import Part
from kpi_shared.server.connections import ConnectionLimits
from kpi_shared.settings import Environment, OptionalTokenSettings, PartSettings, SecretKey
from pydantic import Field, model_validator
from pydantic_settings import NoDecode

from kpi_gateway.origins import DEVELOPMENT_ORIGINS, Origins, refusal_headers
from kpi_gateway.setting_types import (
    STRICTER,
    PolicySettings,
    Requests,
    RouteSetting,
    StorageUrl,
    Timeouts,
    UpstreamUrls,
    WindowSeconds,
    describe_policies,
)

PART = Part(name="gateway", package="kpi_gateway", port=8000)

# The name of auth's internal port among the upstreams.
INTERNAL = "auth-internal"
NO_KEYS = "AUTH_INTERNAL_URL and INTERNAL_KEY are not set: no API key is accepted"
_SET_KEYS = "set AUTH_INTERNAL_URL to the internal port of auth, and INTERNAL_KEY to the same key as there"

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

    auth_url: UpstreamUrls = Field(
        default=("http://127.0.0.1:8001",),
        title="The services",
        description="Auth's address; several addresses are separated by commas.",
    )
    content_url: UpstreamUrls = Field(default=("http://127.0.0.1:8002",), description="Content's, in the same form.")

    @property
    def service_urls(self) -> dict[str, tuple[str, ...]]:
        names = [name for name in ServiceAddresses.model_fields if name not in PartSettings.model_fields]
        return {name.removesuffix("_url"): getattr(self, name) for name in names}


class GatewaySettings(ServiceAddresses, OptionalTokenSettings):
    """The gateway's settings; times are in seconds. With the token key, rate limits also apply per token subject."""

    part: ClassVar[Part] = PART

    auth_internal_url: Annotated[UpstreamUrls | None, NoDecode] = Field(
        default=None,
        description="Auth's internal port, where API keys are exchanged; several addresses are separated by commas. "
        "Not set: no API key is accepted.",
        examples=["http://127.0.0.1:8011"],
    )
    internal_key: SecretKey | None = Field(
        default=None,
        description="The key with which the gateway authenticates there: 64 hex digits, the same as INTERNAL_KEY in "
        "auth's settings.",
    )

    upstreams: dict[str, UpstreamUrls] = Field(
        default_factory=dict,
        title="The route table",
        description="Further upstreams by name, as JSON.",
        examples=['{"billing": "http://127.0.0.1:8003"}'],
    )
    routes: tuple[RouteSetting, ...] = Field(
        default=_ROUTES,
        description="The whole route table, as JSON; it replaces the default in kpi_gateway/settings.py, including "
        'the stricter limits of its rows. A row has a "prefix" and an "upstream". It may be restricted to some '
        '"methods" or to its "exact" address, name a policy as "limit", and have its own "body_limit", '
        '"connect_timeout", "read_timeout" and "total_timeout". GETs of a row with "has_effects": true are never '
        "repeated at another address.",
        examples=['[{"prefix": "/auth", "upstream": "auth"}, {"prefix": "/invoices", "upstream": "billing"}]'],
    )

    cors_origins: Annotated[Origins | None, NoDecode] = Field(
        default=None,
        title="Clients",
        description="Browsers on these origins, separated by commas, may call the API with credentials: scheme://host "
        "or scheme://host:port, without a path, a wildcard or a default port. Not set: ports 3000 and 5173 of "
        "localhost and 127.0.0.1 with APP_ENV=development; otherwise only the gateway's own origin.",
        examples=["https://app.example.com"],
    )
    trusted_proxies: Networks = Field(
        default=(),
        description="Networks of the proxies in front of the gateway, whose X-Forwarded-For is trusted, separated by "
        "commas. Not set: the field is ignored.",
        examples=["10.0.0.0/8"],
    )
    max_connections_per_address: int = Field(
        default=2_000,
        ge=1,
        le=1_000_000,
        description="Simultaneous connections of one client address (IPv6: of one /64); trusted proxies have no limit.",
    )
    ipv6_site_factor: int = Field(
        default=8,
        ge=1,
        le=65_536,
        description="A /48 of IPv6 has this many times the limits of an address: connections and rate limits.",
    )
    hsts_seconds: int = Field(
        default=31_536_000,
        ge=0,
        description="Seconds of Strict-Transport-Security, which is sent with APP_ENV=production; 0 omits it.",
    )
    # 40,000 characters may take 12 bytes each when a client escapes them all.
    body_limit: int = Field(default=1024 * 1024, ge=0, description="Maximum size of a request body in bytes.")

    rate_limit_enabled: bool = Field(
        default=True,
        title="Rate limits: further requests get 429 with Retry-After",
        description="false: there are none.",
    )
    rate_limit_requests: Requests = Field(
        default=1000,
        description="Requests that one client address (IPv6: one /64) may make in any window, and separately each "
        "account of a token. Windows are approximated from two counters, so in the worst case twice as many pass "
        "within one.",
    )
    rate_limit_window: WindowSeconds = Field(default=60, description="The length of that window in seconds.")
    rate_limit_policies: PolicySettings = Field(
        default_factory=dict,
        description="Stricter policies, per client address, that rows of the route table refer to, as JSON; those "
        'that are left out keep these defaults. "credentials" counts wrong API keys.',
        examples=[describe_policies(STRICTER)],
    )
    rate_limit_storage_url: StorageUrl | None = Field(
        default=None,
        description="A Redis or Valkey in which replicas of the gateway share their counts: redis://, rediss://, "
        "valkey:// or valkeys://. Not set: each process counts on its own.",
        examples=["redis://:<password>@redis:6379/0"],
    )

    upstream_connect_timeout: float = Field(
        default=2.0,
        gt=0,
        le=60,
        title="Timeouts of requests to services, in seconds",
        description="To connect.",
    )
    upstream_read_timeout: float = Field(
        default=2.5,
        gt=0,
        le=600,
        description="From the complete request to the start of the response, with all waits and a second attempt.",
    )
    upstream_silence_timeout: float = Field(
        default=15.0,
        gt=0,
        le=600,
        description="The longest pause within a body, in either direction; at least UPSTREAM_READ_TIMEOUT.",
    )
    upstream_total_timeout: float = Field(
        default=60.0, gt=0, le=3600, description="The whole request, with both bodies."
    )

    upstream_connections: int = Field(
        default=100,
        ge=1,
        le=10_000,
        title="Requests in flight",
        description="How many are in flight per upstream at once; further ones wait.",
    )
    upstream_connections_per_client: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="How many of these one client address may use. Not set: half of them.",
        examples=["50"],
    )
    upstream_queue_timeout: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="How many seconds a request waits for its turn. It is refused at once if that will not be enough.",
    )
    costly_requests_per_address: int = Field(
        default=4,
        ge=1,
        le=1000,
        description="Costly requests without credentials (searches and totals) in flight for each address of a "
        "service; twice as many wait.",
    )
    upstream_probe_interval: float = Field(
        default=0.5,
        gt=0,
        le=60,
        description="The interval in seconds at which each of several addresses of an upstream is probed for "
        "readiness.",
    )
    upstream_max_failures: int = Field(
        default=3, ge=1, le=1000, description="After this many failures in a row an address is probed at once."
    )

    # They take no place of ordinary requests.
    stream_connections: int = Field(
        default=2_000,
        ge=1,
        le=100_000,
        title="Streams: Server-Sent Events, and bodies with stream=true",
        description="Streams that are open at once in a process.",
    )
    stream_connections_per_client: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="How many of these one client address may use. Not set: a tenth of them.",
        examples=["200"],
    )
    # Services send something every 15 s.
    stream_silence_timeout: float = Field(
        default=45.0,
        gt=0,
        le=3600,
        description="The longest pause within a stream, in either direction, in seconds.",
    )
    # 100,000 characters, each in an event of its own and escaped.
    stream_body_limit: int = Field(
        default=16 * 1024 * 1024, ge=0, description="Maximum size of a streamed body in bytes."
    )

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
            raise ValueError(
                "AUTH_INTERNAL_URL: set INTERNAL_KEY too, the key with which the gateway authenticates there"
            )
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
