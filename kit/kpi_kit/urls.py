"""The URL that chooses a driver, such as ``redis://cache:6379/0`` or ``file:///var/mails``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import nan
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from kpi_kit.errors import UrlError


@dataclass(frozen=True)
class Url:
    """The parts of a URL, decoded. ``options`` is the query; ``text`` is the whole, with its password.

    ``place`` is its host, port and path as they are written.
    """

    scheme: str
    host: str
    port: int | None
    username: str | None
    password: str | None = field(repr=False)
    path: str
    options: Mapping[str, str]
    text: str = field(repr=False)

    @property
    def place(self) -> str:
        parts = urlsplit(self.text)
        return parts.netloc.rpartition("@")[2] + parts.path


def parse_url(url: str | SecretStr, *, forms: Mapping[str, str], options: Iterable[str] = ()) -> Url:
    """The parts of ``url``; UrlError if its scheme is none of ``forms``, or an option is none of ``options``.

    ``forms`` has an example of a URL for each scheme, which the error shows; the URL itself is never quoted.
    """
    text = url.get_secret_value() if isinstance(url, SecretStr) else url
    expected = f"{', '.join(forms.values())}: a URL of one of these forms is needed"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # The library's own message quotes what it took for the port, which may be a part of the password.
        raise UrlError(f"{expected}, with special characters in a password percent-encoded") from None
    if parts.fragment or any(ord(character) <= ord(" ") for character in text):
        raise UrlError(f"{expected}, with special characters in a password percent-encoded")
    if parts.scheme not in forms:
        raise UrlError(expected)
    return Url(
        parts.scheme,
        parts.hostname or "",
        port,
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
        unquote(parts.path),
        _read_options(parts, frozenset(options)),
        text,
    )


def split_libpq_url(text: str, *, forms: Mapping[str, str], options: Iterable[str]) -> Url:
    """A URL of PostgreSQL with the ``options`` taken out: its ``text`` is for ``kpi_kit.libpq``, which reads the rest.

    It is in no more parts, since ``parse_url`` would refuse several hosts, and the parameters of libpq.
    """
    scheme, slashes, rest = text.partition("://")
    if not slashes:
        raise UrlError(f"{', '.join(forms.values())}: a URL of one of these forms is needed")
    address, _, query = rest.partition("?")
    names = frozenset(options)
    # libpq reads a plus sign as such, so all stays as it is written.
    pairs = [part.partition("=") for part in query.split("&")] if query else []
    own = [(name, unquote(value)) for name, _, value in pairs if name in names]
    others = "&".join(f"{name}{sign}{value}" for name, sign, value in pairs if name not in names)
    if len(dict(own)) != len(own):
        raise UrlError(f"each of these options is given once: {', '.join(sorted(names))}")
    plain = f"{scheme}://{address}?{others}" if others else f"{scheme}://{address}"
    return Url(scheme, "", None, None, None, "", dict(own), plain)


def read_number(url: Url, name: str, *, default: float, least: float, most: float) -> float:
    """An option of the URL as a number within these bounds; UrlError for anything else."""
    try:
        found = float(url.options.get(name, default))
    except ValueError:
        found = nan
    if not least <= found <= most:
        raise UrlError(f"{name} of a {url.scheme}:// URL is a number from {least:g} to {most:g}")
    return found


def read_flag(url: Url, name: str) -> bool:
    """Whether an option of the URL is true; UrlError for anything but true or false."""
    found = url.options.get(name, "false")
    if found not in ("true", "false"):
        raise UrlError(f"{name} of a {url.scheme}:// URL is true or false")
    return found == "true"


def _read_options(parts: SplitResult, known: frozenset[str]) -> dict[str, str]:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    found = dict(pairs)
    if len(found) != len(pairs) or not found.keys() <= known:
        names = ", ".join(sorted(known)) or "none"
        raise UrlError(f"the options of a {parts.scheme}:// URL, each given once, are: {names}")
    return found
