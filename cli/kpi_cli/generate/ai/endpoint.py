"""Where the words are sent: ``KPI_AI_URL``, ``KPI_AI_MODEL`` and ``KPI_AI_KEY``."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from kpi_cli.errors import FailureError

_EXAMPLE = "export KPI_AI_URL=http://127.0.0.1:11434/v1 KPI_AI_MODEL=llama3.1 (and KPI_AI_KEY, if it asks for a key)"


@dataclass(frozen=True)
class Endpoint:
    """``url`` is the address of the API, to which /chat/completions is added."""

    url: str
    model: str
    key: str = field(repr=False)

    @property
    def address(self) -> str:
        return f"{self.url.rstrip('/')}/chat/completions"

    @property
    def is_encrypted(self) -> bool:
        return self.url.lower().startswith("https:")


def find(environment: Mapping[str, str]) -> Endpoint:
    """FailureError with exit code 2 that says what is missing, or what is wrong with it."""
    needed = {name: environment.get(name, "").strip() for name in ("KPI_AI_URL", "KPI_AI_MODEL")}
    missing = [name for name, value in needed.items() if not value]
    if missing:
        have = "is" if len(missing) == 1 else "are"
        raise FailureError("ai", f"no endpoint is set: {' and '.join(missing)} {have} missing", fix=_EXAMPLE, code=2)
    url, model = needed.values()
    key = environment.get("KPI_AI_KEY", "").strip()
    problem = _find_problem(url, may_be_plain=environment.get("KPI_AI_ALLOW_HTTP") == "1")
    if problem:
        raise FailureError("ai", f"KPI_AI_URL {problem}", fix=_EXAMPLE, code=2)
    for name, value in (("KPI_AI_MODEL", model), ("KPI_AI_KEY", key)):
        if not (value.isascii() and value.isprintable()):
            raise FailureError("ai", f"{name} may have printable ASCII characters only", code=2)
    return Endpoint(url, model, key)


def _find_problem(url: str, *, may_be_plain: bool) -> str | None:
    """The address itself is not quoted: it may contain a password."""
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        return "is not an address such as https://api.example.com/v1"
    if parts.username is not None or parts.password is not None:
        return "has a user name or a password in it; a key belongs into KPI_AI_KEY"
    if parts.query or parts.fragment:
        return "has a query or a fragment; it must end with the path of the API"
    if parts.scheme == "http" and not (may_be_plain or _is_loopback(parts.hostname)):
        return "is not encrypted (http:) and not on this machine; KPI_AI_ALLOW_HTTP=1 sends words and key all the same"
    return None


def _split(url: str) -> SplitResult | None:
    """None for what is no URL, or one whose host another parser might read differently."""
    if not (url.isascii() and url.isprintable()) or any(sign in url for sign in " \\"):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
