"""The target and the sender of mails, as MAIL_URL and MAIL_FROM give them."""

import ipaddress
from dataclasses import dataclass, field
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import parseaddr
from enum import Enum
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_FORMS = "smtp://user:password@host:port, smtps://... or file:///folder is needed"


class Security(Enum):
    PLAIN = "plain"
    STARTTLS = "starttls"
    TLS = "tls"


# RFC 6409 and RFC 8314.
_PORTS = {Security.PLAIN: 587, Security.STARTTLS: 587, Security.TLS: 465}


@dataclass(frozen=True)
class Folder:
    """Mails are written as files."""

    path: Path


@dataclass(frozen=True)
class SmtpServer:
    """Credentials are only set where the connection is encrypted before they are sent."""

    host: str
    port: int
    security: Security
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def mail_target(url: str) -> Folder | SmtpServer:
    """The target of MAIL_URL; a ValueError never quotes it, since it may contain a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # The library's own message quotes what it took for the port, which may be a part of the password.
        raise ValueError(f"{_FORMS}, with special characters in the password percent-encoded") from None
    if parts.fragment or any(ord(character) <= ord(" ") for character in url):
        raise ValueError(f"{_FORMS}, with special characters in the password percent-encoded")
    if parts.scheme == "file" and not parts.netloc and not parts.query and parts.path.startswith("/"):
        return Folder(Path(unquote(parts.path)))
    if parts.scheme in {"smtp", "smtps"} and parts.hostname and parts.path in {"", "/"}:
        return _server(parts, parts.hostname, port)
    raise ValueError(_FORMS)


def _server(parts: SplitResult, host: str, port: int | None) -> SmtpServer:
    username, password = unquote(parts.username or "") or None, unquote(parts.password or "") or None
    if (username is None) != (password is None):
        raise ValueError("a user name needs a password, and a password a user name")
    security = _security(parts, host, has_credentials=username is not None)
    return SmtpServer(host, port or _PORTS[security], security, username, password)


def _security(parts: SplitResult, host: str, *, has_credentials: bool) -> Security:
    """STARTTLS is required, not opportunistic: an attacker on the network could remove the offer (RFC 8314)."""
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if options not in ({}, {"starttls": "never"}) or (options and parts.scheme == "smtps"):
        raise ValueError("the only option is ?starttls=never, for smtp:// only")
    if parts.scheme == "smtps":
        return Security.TLS
    if options and has_credentials:
        raise ValueError("credentials are never sent over an unencrypted connection: remove them or ?starttls=never")
    plain = options or (_is_loopback(host) and not has_credentials)
    return Security.PLAIN if plain else Security.STARTTLS


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def mail_sender(text: str) -> Address:
    """The address in ``Name <name@example.com>`` or ``name@example.com``; ValueError for anything else."""
    name, address = parseaddr(text)
    if not text.isprintable() or "@" not in address:
        raise ValueError("an address such as KPI-One <no-reply@example.com> is needed")
    try:
        return Address(name, addr_spec=address)
    except (MessageError, ValueError, IndexError):
        raise ValueError("an address such as KPI-One <no-reply@example.com> is needed") from None
