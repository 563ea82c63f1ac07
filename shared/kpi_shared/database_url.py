"""DATABASE_URL: libpq parses it, so every address that psql accepts is accepted, those with several hosts included.

No message quotes any part of the address. If the password contains a character that is not percent-encoded, a part of
the password is taken for the host, the port or the name of the database.
"""

from collections.abc import Mapping

import psycopg
from psycopg.conninfo import conninfo_to_dict

_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_ENCODE = "special characters in the user name and password must be percent-encoded (@ is %40, / is %2F)"


def parse_database_url(url: str) -> dict[str, str]:
    """The parameters of libpq for this address, by keyword; ValueError if the address is not valid."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError("must be a postgresql:// address")
    # libpq ends the password at the first @ or, if no @ precedes it, the user name at the first slash.
    address = rest.partition("?")[0]
    if address.count("@") > 1 or "@" in address.partition("/")[2]:
        raise ValueError(f"the address contains a misplaced @; {_ENCODE}")
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(f"postgresql://{rest}").items()}
    except (psycopg.Error, UnicodeError):
        raise ValueError(f"the address is not valid; {_ENCODE}") from None
    _check_hosts(parameters)
    if not parameters.get("dbname"):
        raise ValueError("the address contains no database name")
    return parameters


def _check_hosts(parameters: dict[str, str]) -> None:
    """libpq finds these errors only when it connects, and then quotes the values."""
    hosts = (parameters.get("hostaddr") or parameters.get("host", "")).split(",")
    ports = parameters.get("port", "").split(",")
    # A host of digits only is a port of a list that stands behind the last host: ``h1,h2:1,2``.
    if any("@" in host or host.isdecimal() for host in hosts):
        raise ValueError(f"the host of the address is not valid; {_ENCODE}")
    if not all(port == "" or (port.isascii() and port.isdecimal() and 0 < int(port) < 2**16) for port in ports):
        raise ValueError(f"the port of the address is not valid; {_ENCODE}")
    if len(ports) not in {1, len(hosts)}:
        raise ValueError("the address has different numbers of hosts and ports")


# A connection whose packets are lost ends after two to four seconds, idle or not. The system's own times are 15 minutes
# and two hours. Ignored where the socket is not TCP.
_TCP = {
    "keepalives": "1",
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "2",
    "tcp_user_timeout": "2000",
}


def connection_arguments(url: str, *, application_name: str, options: str, default_options: str = "") -> dict[str, str]:
    """The arguments of the driver's ``connect``.

    SQLAlchemy's own URL cannot express several hosts with a port each, so the engines have an empty URL and these
    arguments instead. What the address says precedes the defaults, ``default_options`` included; ``options`` precede
    those of the address.
    """
    parameters = parse_database_url(url)
    joined = " ".join(filter(None, (default_options, parameters.get("options"), options)))
    defaults = _TCP | {"application_name": application_name}
    if _has_several_hosts(parameters):
        # After a failover the old primary may still respond, read-only.
        defaults["target_session_attrs"] = "read-write"
    return defaults | parameters | {"options": joined}


def _has_several_hosts(parameters: Mapping[str, str]) -> bool:
    return "," in (parameters.get("hostaddr") or parameters.get("host", ""))
