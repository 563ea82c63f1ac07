"""What the gateway can be told: where the services are, which paths are theirs, who may call from a browser."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from kpi_shared.addresses import Networks, networks
from kpi_shared.connections import ConnectionLimits
from kpi_shared.parts import Part
from kpi_shared.settings import CommaSeparated, Environment, PartSettings
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

PART = Part(name="gateway", package="kpi_gateway", port=8000)

_ORIGIN = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
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


UpstreamUrl = Annotated[str, AfterValidator(_checked_upstream)]
Origins = Annotated[CommaSeparated, AfterValidator(_checked_origins)]


class RouteSetting(BaseModel):
    """One row of the route table: requests under ``prefix`` go to ``upstream``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefix: Annotated[str, AfterValidator(_checked_prefix)]
    upstream: str


_ROUTES = (
    RouteSetting(prefix="/auth", upstream="auth"),
    RouteSetting(prefix="/users", upstream="auth"),
    RouteSetting(prefix="/audit", upstream="auth"),
    RouteSetting(prefix="/posts", upstream="content"),
    RouteSetting(prefix="/votes", upstream="content"),
)


class GatewaySettings(PartSettings):
    """The gateway's settings; times are in seconds."""

    part: ClassVar[Part] = PART

    auth_url: UpstreamUrl = "http://127.0.0.1:8001"
    content_url: UpstreamUrl = "http://127.0.0.1:8002"
    # Further upstreams by name.
    upstreams: dict[str, UpstreamUrl] = Field(default_factory=dict)
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
    # How long a request waits for a connection when all of them are busy.
    upstream_queue_timeout: float = Field(default=1.0, gt=0, le=60)

    @property
    def server_options(self) -> dict[str, Any]:
        limits = ConnectionLimits(self.max_connections_per_address, networks(self.trusted_proxies))
        secure = self.app_env is Environment.PRODUCTION and self.hsts_seconds
        hsts = (("Strict-Transport-Security", f"max-age={self.hsts_seconds}; includeSubDomains"),)
        return {"limits": limits, "headers": hsts if secure else ()}

    @property
    def upstream_urls(self) -> Mapping[str, str]:
        return {"auth": self.auth_url, "content": self.content_url, **self.upstreams}

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> Self:
        prefixes = [route.prefix for route in self.routes]
        if len(set(prefixes)) < len(prefixes):
            raise ValueError("ROUTES: a prefix stands there twice")
        unknown = {route.upstream for route in self.routes} - set(self.upstream_urls)
        if unknown:
            raise ValueError(f"ROUTES: no address is known for {', '.join(sorted(unknown))}; add it to UPSTREAMS")
        return self
