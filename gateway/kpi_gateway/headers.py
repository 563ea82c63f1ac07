"""Which header fields pass the gateway, in both directions."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

Pair = tuple[bytes, bytes]

# RFC 9110 section 7.6.1, and those that older programs treat the same.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# API keys, in whatever spelling: the gateway exchanges them, and no service sees one.
_KEYS = frozenset({"octopus-api-key", "x-api-key"})
# The gateway sets these itself: the framing of the body, the upstream's host, the request's id, and the time that is
# left for the response.
# The server has responded to Expect by the time the body is read.
_REWRITTEN = frozenset({"content-length", "host", "expect", "x-request-id", "x-request-timeout"})
# A client must not state its own identity or origin. The services read none of these fields, but other programs behind
# the gateway may.
_IDENTITY = frozenset(
    {
        "cf-connecting-ip",
        "client-ip",
        "fastly-client-ip",
        "fly-client-ip",
        "forwarded",
        "proxy",
        "remote-addr",
        "remote-user",
        "true-client-ip",
        "via",
    }
)
_IDENTITY_PREFIXES = (
    "x-auth-",
    "x-amzn-oidc-",
    "x-authenticated",
    "x-azure-",
    "x-client-",
    "x-cluster-client-ip",
    "x-email",
    "x-envoy-",
    "x-forward",
    "x-goog-authenticated-",
    "x-groups",
    "x-host",
    "x-http-method",
    "x-kpi-",
    "x-method-override",
    "x-ms-client-",
    "x-original-",
    "x-originating-",
    "x-proxyuser-",
    "x-real-ip",
    "x-remote-",
    "x-rewrite-",
    "x-role",
    "x-scheme",
    "x-ssl-client",
    "x-subject",
    "x-user",
    "x-webauth-",
)
# The gateway's own server sets Date. The software of an upstream is not disclosed. The gateway alone decides about CORS
# and rate limits.
_DROPPED = frozenset(
    {
        "date",
        "ratelimit",
        "ratelimit-policy",
        "server",
        "via",
        "x-powered-by",
        "x-request-begun",
        "x-request-id",
        "x-response-time",
        "x-retry-elsewhere",
    }
)
_DROPPED_PREFIXES = ("access-control-", "x-ratelimit-")

# RFC 9110, 7.6.3: a gateway identifies itself.
_VIA = (b"via", b"1.1 kpi-gateway")
_PLAIN_OPTIONS = frozenset({b"keep-alive", b"close"})


class Peer(NamedTuple):
    """The other end of the connection to the gateway."""

    address: str
    scheme: str


def request_headers(headers: Sequence[Pair], *, request_id: str, peer: Peer) -> list[Pair]:
    """The header fields for the upstream, without those of the body's framing."""
    kept = [pair for pair in headers if _passes_upstream(pair[0])]
    if named := _connection_options(headers):
        kept = [pair for pair in kept if pair[0] not in named]
    kept += (
        (b"x-request-id", request_id.encode()),
        (b"x-forwarded-for", peer.address.encode()),
        (b"x-forwarded-proto", peer.scheme.encode()),
        _VIA,
    )
    return kept


def response_headers(headers: Sequence[Pair]) -> list[Pair]:
    """The header fields for the client, including the body's length; names are in lower case already."""
    kept = [pair for pair in headers if _passes_downstream(pair[0])]
    if named := _connection_options(headers):
        kept = [pair for pair in kept if pair[0] not in named]
    return kept


def _connection_options(headers: Sequence[Pair]) -> set[bytes]:
    """RFC 9110 section 7.6.1: fields that Connection lists are for this connection only."""
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection" and value not in _PLAIN_OPTIONS:
            named.update(option.strip().lower() for option in value.split(b","))
    return named


# Clients send few distinct names, so each is checked once; the bound limits what a hostile client can add.
@lru_cache(maxsize=512)
def _passes_upstream(name: bytes) -> bool:
    # CGI and WSGI programs read X_Forwarded_For as X-Forwarded-For.
    text = name.decode("latin-1").lower().replace("_", "-").replace(".", "-")
    return (
        text not in _HOP_BY_HOP
        and text not in _REWRITTEN
        and text not in _IDENTITY
        and text not in _KEYS
        and not text.startswith(_IDENTITY_PREFIXES)
    )


@lru_cache(maxsize=512)
def _passes_downstream(name: bytes) -> bool:
    text = name.decode("latin-1")
    return text not in _HOP_BY_HOP and text not in _DROPPED and not text.startswith(_DROPPED_PREFIXES)
