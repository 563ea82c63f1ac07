"""The table of the platform's parts: adding a service is adding one row.

The ports, secrets, databases, roles, migrations, checks, start order, log prefixes, settings and help texts of the
``kpi`` command all derive from it. No part is imported: each is a program with the same command line, so that a test
can put a small one in its place.

This module imports the standard library only, because the vault runs it in a bare Python image.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from kpi_cli.errors import FailureError, suggest


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the platform, and what the local stack has to provide for it."""

    name: str
    package: str
    # Its folder in the checkout, which holds config/ and, for a part with a database, migrations/.
    folder: str
    # Where it listens when it is run alone; in a local stack only the gateway does.
    port: int
    # The ANSI colour of its name in front of its log lines.
    colour: int
    # The user of its container, and that user's group.
    uid: int
    has_database: bool = False
    needs_token_key: bool = False
    # It makes tokens; the other parts that have keys of tokens verify them only.
    mints_tokens: bool = False
    needs_auth_key: bool = False
    sends_mail: bool = False
    # It has a second port, for the other parts alone: there the gateway exchanges API keys, and others read its events.
    has_internal_port: bool = False
    # It reads from those ports what happened there: which sessions ended, and which accounts changed.
    follows_events: bool = False
    # It keeps in its database what it reads there, such as names: `kpi events` shows how far, and builds that anew.
    has_inbox: bool = False
    # The public address: its port is known to people, and it gets the URLs of all services.
    is_gateway: bool = False

    @property
    def database(self) -> str:
        """The name of its database, and of the role that owns it."""
        return f"kpi_{self.name}"

    @property
    def internal_url_variable(self) -> str:
        """The other parts' setting for the address of its second port."""
        return f"{self.name.upper()}_INTERNAL_URL"

    @property
    def url_variable(self) -> str:
        """The setting that names its address."""
        return f"{self.name.upper()}_URL"

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Its command line."""
        return (sys.executable, "-m", self.package, *arguments)


# In containers, the group of the parts that follow events: it may read the key of the feed.
FOLLOWERS_GID = 10100

# A stack stops its parts in the opposite order, so the gateway, which depends on all others, is last.
PARTS: tuple[Part, ...] = (
    Part(
        name="auth",
        package="kpi_auth",
        folder="services/auth",
        port=8001,
        colour=36,
        uid=10001,
        has_database=True,
        needs_token_key=True,
        mints_tokens=True,
        needs_auth_key=True,
        sends_mail=True,
        has_internal_port=True,
    ),
    Part(
        name="content",
        package="kpi_content",
        folder="services/content",
        port=8002,
        colour=32,
        uid=10002,
        has_database=True,
        needs_token_key=True,
        follows_events=True,
        has_inbox=True,
    ),
    # It needs the key to rate-limit requests by the user of their token; it issues none.
    Part(
        name="gateway",
        package="kpi_gateway",
        folder="gateway",
        port=8000,
        colour=35,
        uid=10003,
        needs_token_key=True,
        is_gateway=True,
    ),
)

GATEWAY = next(part for part in PARTS if part.is_gateway)
# Those that refuse a request whose token they cannot verify. Without keys a gateway counts by address alone.
VERIFYING = tuple(part for part in PARTS if part.needs_token_key and not part.is_gateway)
SERVICES = tuple(part for part in PARTS if not part.is_gateway)
WITH_DATABASE = tuple(part for part in PARTS if part.has_database)


def get_or_raise(name: str) -> Part:
    """The part of that name; raises FailureError with exit code 2 for an unknown one."""
    known = {part.name: part for part in PARTS}
    if name not in known:
        problem = f"there is no such part; the parts are {join_names(PARTS, 'and')}{suggest(name, known)}"
        raise FailureError(name, problem, code=2)
    return known[name]


def join_names(parts: Sequence[Part], conjunction: str) -> str:
    """The names of parts in a sentence: ``auth, content or gateway``."""
    *names, last = (part.name for part in parts)
    return f"{', '.join(names)} {conjunction} {last}" if names else last
