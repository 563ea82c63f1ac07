"""What headers pass the gateway, in both directions."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

Pair = tuple[bytes, bytes]

# RFC 9110 section 7.6.1, and those that older programs treat the same way.
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
# The gateway writes these itself: the framing of the body, the upstream's name, and the request's id.
# uvicorn has answered an Expect by the time the body is read.
_REWRITTEN = frozenset({"content-length", "host", "expect", "x-request-id"})
# Who the client is, and where it came from, is not the client's to say. A service reads none of these, but
# whatever is put behind this gateway one day may.
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
# The server that speaks to the client writes Date; what an upstream is made of is nobody's business; who may
# read an answer from a browser is the gateway's decision alone, and so are the limits that clients are told of.
_UPSTREAMS_OWN = frozenset(
    {"date", "ratelimit", "ratelimit-policy", "server", "via", "x-powered-by", "x-request-id", "x-response-time"}
)
_UPSTREAMS_OWN_PREFIXES = ("access-control-", "x-ratelimit-")

# RFC 9110, 7.6.3: a gateway says that it is one.
_VIA = (b"via", b"1.1 kpi-gateway")
_FORGETTABLE = frozenset({b"keep-alive", b"close"})


class Peer(NamedTuple):
    """Who speaks to the gateway, as the connection itself shows."""

    address: str
    scheme: str


def request_headers(headers: Sequence[Pair], *, request_id: str, peer: Peer) -> list[Pair]:
    """The headers for the upstream, without those of the body's framing."""
    kept = [pair for pair in headers if _passes_upstream(pair[0])]
    if named := _named_by_connection(headers):
        kept = [pair for pair in kept if pair[0] not in named]
    kept += (
        (b"x-request-id", request_id.encode()),
        (b"x-forwarded-for", peer.address.encode()),
        (b"x-forwarded-proto", peer.scheme.encode()),
        _VIA,
    )
    return kept


def response_headers(headers: Sequence[Pair]) -> list[Pair]:
    """The headers for the client, the body's length included; names are in lower case already."""
    kept = [pair for pair in headers if _passes_downstream(pair[0])]
    if named := _named_by_connection(headers):
        kept = [pair for pair in kept if pair[0] not in named]
    return kept


def _named_by_connection(headers: Sequence[Pair]) -> set[bytes]:
    """RFC 9110 section 7.6.1: fields that Connection names are for this connection only."""
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection" and value not in _FORGETTABLE:
            named.update(option.strip().lower() for option in value.split(b","))
    return named


# Clients send few distinct names, so each is looked at once; the bound keeps a hostile one from growing it.
@lru_cache(maxsize=512)
def _passes_upstream(name: bytes) -> bool:
    # CGI and WSGI programs read X_Forwarded_For as X-Forwarded-For.
    text = name.decode("latin-1").lower().replace("_", "-").replace(".", "-")
    return (
        text not in _HOP_BY_HOP
        and text not in _REWRITTEN
        and text not in _IDENTITY
        and not text.startswith(_IDENTITY_PREFIXES)
    )


@lru_cache(maxsize=512)
def _passes_downstream(name: bytes) -> bool:
    text = name.decode("latin-1")
    return text not in _HOP_BY_HOP and text not in _UPSTREAMS_OWN and not text.startswith(_UPSTREAMS_OWN_PREFIXES)
