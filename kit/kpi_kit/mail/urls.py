"""The target of mails, as a URL gives it. No driver and no extra is imported here, so settings can be checked early."""

import ipaddress
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import SecretStr

from kpi_kit.drivers import Driver, choose_driver
from kpi_kit.errors import UrlError
from kpi_kit.mail.drivers import DRIVERS
from kpi_kit.mail.targets import ApiAccount, Folder, Memory, Security, SesAccount, SmtpServer, Target
from kpi_kit.urls import Url

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
_DOMAIN = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}", re.IGNORECASE)
# RFC 6409 and RFC 8314.
_PORTS = {Security.PLAIN: 587, Security.STARTTLS: 587, Security.TLS: 465}


def read_target(url: str | SecretStr, drivers: Sequence[Driver] = DRIVERS) -> tuple[Driver, Target]:
    """The driver and its target; UrlError never quotes the URL, since it may contain a password."""
    driver, parts = choose_driver(url, drivers)
    if not f"{parts.username or ''}{parts.password or ''}".isprintable():
        raise UrlError("the user name, the password or the key has a line break or a control character")
    return driver, _READERS[driver.name](parts)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_folder(parts: Url) -> Folder:
    if parts.host or not parts.path.startswith("/"):
        raise UrlError("file:///folder with an absolute path is needed")
    return Folder(Path(parts.path))


def _read_server(parts: Url) -> SmtpServer:
    if not parts.host or parts.path not in {"", "/"}:
        raise UrlError(
            "smtp://user:password@host:port is needed, with special characters in the password percent-encoded"
        )
    if (parts.username is None) != (parts.password is None):
        raise UrlError("a user name needs a password, and a password a user name")
    security = _choose_security(parts)
    return SmtpServer(parts.host, parts.port or _PORTS[security], security, parts.username, parts.password)


def _choose_security(parts: Url) -> Security:
    """STARTTLS is required, not opportunistic: an attacker on the network could remove the offer (RFC 8314)."""
    if parts.options not in ({}, {"starttls": "never"}) or (parts.options and parts.scheme == "smtps"):
        raise UrlError("the only option is ?starttls=never, for smtp:// only")
    if parts.scheme == "smtps":
        return Security.TLS
    if parts.options and parts.username:
        raise UrlError("credentials are never sent over an unencrypted connection: remove them or ?starttls=never")
    is_plain = parts.options or (is_loopback(parts.host) and not parts.username)
    return Security.PLAIN if is_plain else Security.STARTTLS


def _read_ses(parts: Url) -> SesAccount:
    if not _REGION.fullmatch(parts.host) or parts.path not in {"", "/"} or parts.port:
        raise UrlError("ses://eu-west-1 is needed, with the region of the account")
    if (parts.username is None) != (parts.password is None):
        raise UrlError("ses:// needs a key id and a secret key, or neither of them: then boto3 finds the credentials")
    endpoint = parts.options.get("endpoint")
    if endpoint is not None and not re.match(r"https://[^/]|http://(127\.0\.0\.1|localhost|\[::1\])[:/]", endpoint):
        raise UrlError("the endpoint of ses:// is an https:// address, or http:// on this machine")
    return SesAccount(
        parts.host, parts.username, parts.password, endpoint, parts.options.get("configuration_set") or None
    )


def _read_sendgrid(parts: Url) -> ApiAccount:
    if parts.path not in {"", "/"}:
        raise UrlError("sendgrid://:key@api.sendgrid.com is needed")
    return ApiAccount(*_read_api(parts))


def _read_mailgun(parts: Url) -> ApiAccount:
    domain = parts.path.strip("/")
    if not _DOMAIN.fullmatch(domain):
        raise UrlError("mailgun://:key@api.mailgun.net/mg.example.com is needed, with the domain that sends")
    return ApiAccount(*_read_api(parts), domain=domain)


def _read_api(parts: Url) -> tuple[str, str]:
    """The base URL and the key. Only a stand-in on this machine is spoken to without TLS."""
    if not parts.host or not parts.password or not parts.password.isascii():
        raise UrlError(
            f"{parts.scheme}:// needs the host of the API, and the API key as the password: see docs/kit/mail.md"
        )
    host = f"[{parts.host}]" if ":" in parts.host else parts.host
    port = f":{parts.port}" if parts.port else ""
    return f"{'http' if is_loopback(parts.host) else 'https'}://{host}{port}", parts.password


def _read_memory(parts: Url) -> Memory:
    if parts.host or parts.path not in {"", "/"}:
        raise UrlError("memory:// has no further parts")
    return Memory()


_READERS: dict[str, Callable[[Url], Target]] = {
    "smtp": _read_server,
    "ses": _read_ses,
    "sendgrid": _read_sendgrid,
    "mailgun": _read_mailgun,
    "file": _read_folder,
    "memory": _read_memory,
}
