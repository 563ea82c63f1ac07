"""URLs of PostgreSQL, which libpq itself reads: there may be several hosts, and all its parameters."""

import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from kpi_kit.errors import UrlError

# A connection whose packets are lost ends after some seconds: the system's own times are 15 minutes and two hours.
_DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
}


def read_parameters(url: str, defaults: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a connection, with the password. ``defaults`` are those that the URL may change, such as
    ``application_name``; UrlError, which quotes nothing, if libpq cannot read the URL.
    """
    # SQLAlchemy has a spelling of its own, which the services have in their settings.
    rest = url.partition("://")[2]
    try:
        given = conninfo_to_dict(f"postgresql://{rest}")
    except (ValueError, UnicodeError, psycopg.Error):
        # The library's own message quotes what it cannot read, which may be a part of the password.
        raise UrlError(
            "postgresql://user:password@host:5432/database is needed, with special characters in the password "
            "percent-encoded, and no options but those of libpq and of this library"
        ) from None
    _check_address(rest.partition("?")[0], str(given.get("port", "")))
    # After a failover the old primary may still respond, read-only.
    several = {"target_session_attrs": "read-write"} if "," in str(given.get("host", "")) else {}
    return {**_DEFAULTS, **several, **defaults, **given}


def _check_address(address: str, ports: str) -> None:
    """libpq would take a part of the password for the host or the port, and quote it when it cannot connect."""
    is_misplaced = address.count("@") > 1 or "@" in address.partition("/")[2]
    if is_misplaced or not re.fullmatch(r"[\d,]*", ports):
        raise UrlError("the URL has a misplaced @ or a bad port: in a password, @ is written %40, and / is %2F")
