"""The servers and the identity that EVENTS_NATS_URL and EVENTS_NATS_CREDENTIALS give, and the names on the servers."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

_FORMS = (
    "nats://user:password@host:port, nats://token@host:port or tls://... is needed; several are separated by commas"
)
_ENCODED = "with special characters in the password percent-encoded"
_PORT = 4222
# What subjects and streams may be made of without a meaning of their own to the server.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,100}")
_BLOCK = re.compile(r"-{3,}BEGIN ([A-Z ]+)-{3,}\s*([A-Za-z0-9._=-]+)\s*-{3,}END")
# Two bytes say what kind of key a seed is of; after its 32 bytes comes a checksum of two.
_SEED_BYTES = slice(2, 34)
_SEED_LENGTH = 36


@dataclass(frozen=True)
class NatsServers:
    """Addresses without credentials, so that these are in no log."""

    urls: tuple[str, ...]
    is_encrypted: bool
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class NatsCredentials:
    """A user's JWT, and the seed of the key that proves it."""

    jwt: str
    seed: bytes = field(repr=False)


def nats_servers(value: str) -> NatsServers:
    """The servers of EVENTS_NATS_URL; a ValueError never quotes it, since it may contain a password."""
    parts = [_split(url.strip()) for url in value.split(",") if url.strip()]
    if not parts or len({part.scheme for part in parts}) > 1:
        raise ValueError(_FORMS)
    identities = {(part.username, part.password) for part in parts} - {(None, None)}
    if len(identities) > 1:
        raise ValueError("the addresses have different credentials")
    user, password = next(iter(identities), (None, None))
    known = unquote(user) if user else None
    return NatsServers(
        urls=tuple(f"{part.scheme}://{_host(part)}:{part.port or _PORT}" for part in parts),
        is_encrypted=parts[0].scheme == "tls",
        user=known if password else None,
        password=unquote(password) if password else None,
        token=None if password else known,
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        # Reading the port validates it; the library's own message quotes what may be a part of the password.
        is_valid = parts.scheme in {"nats", "tls"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(f"{_FORMS}, {_ENCODED}") from None
    if not is_valid or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"{_FORMS}, {_ENCODED}")
    return parts


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def nats_credentials(content: str) -> NatsCredentials:
    """The two blocks of a credentials file, as the tools of NATS write it."""
    blocks = {match[1]: match[2] for match in _BLOCK.finditer(content)}
    try:
        jwt, seed = blocks["NATS USER JWT"], blocks["USER NKEY SEED"]
        decoded = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except (KeyError, binascii.Error):
        decoded = b""
    if len(decoded) != _SEED_LENGTH:
        raise ValueError("a credentials file of NATS is needed, with a user's JWT and the seed of its key")
    return NatsCredentials(jwt, decoded[_SEED_BYTES])


def check_stream(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("letters, digits, - and _ are allowed")
    return name


def check_subject(prefix: str) -> str:
    if not all(_TOKEN.fullmatch(token) for token in prefix.split(".")):
        raise ValueError("words of letters, digits, - and _ are needed, separated by dots")
    return prefix
