"""Tells a client that repeats a refresh from a second holder of its token (ADR 34).

As long as two clients share a session, each of its refreshes is repeated: the client that comes second has only the
token before. So a refresh without a repeat shows that there is one client, and only repeated ones in a row are counted.
"""

import ipaddress
import re
from enum import IntEnum

from kpi_shared.database import AnyRow

from kpi_auth.origin import Origin

# The sum that repeats of consecutive refreshes may reach: the fifth suspicious one in a row ends the session.
MOST_SUSPICION = 8
# As far as a client's address changes while it stays in one place: that of a household, or of a part of a provider.
_PREFIX_LENGTHS = {4: 24, 6: 48}
_DIGITS = re.compile(r"[\d.]+")


class Suspicion(IntEnum):
    """How much one repeat points to a second holder."""

    # It neither adds to the sum nor sets it to zero.
    UNDECIDED = -1
    NONE = 0
    # The client had no reason yet to refresh at all; but pages that are reloaded quickly do so too.
    HURRIED = 1
    # Late, or from another network or with another program, as when a client moves while it waits for a response.
    UNUSUAL = 2
    # From another network and with another program: two clients.
    ELSEWHERE = MOST_SUSPICION + 1


def judge(row: AnyRow, origin: Origin, *, has_overlapped: bool) -> Suspicion:
    """Judge a repeat from ``origin`` of the last refresh, after which ``row`` is the state of the session."""
    has_moved = _network(row.address) != _network(origin.columns["address"])
    is_other_program = _program(row.user_agent) != _program(origin.user_agent)
    if has_moved and is_other_program:
        return Suspicion.ELSEWHERE
    # Sent before the other request had its response: tabs that refresh at once, or a retry while the first one waits.
    # On a busy server a request that came just after the response may look so too.
    if has_overlapped:
        return Suspicion.UNDECIDED if row.is_hurried else Suspicion.NONE
    if has_moved or is_other_program or not row.is_fresh:
        return Suspicion.UNUSUAL
    return Suspicion.HURRIED if row.is_hurried else Suspicion.NONE


def _network(address: str | None) -> object:
    if address is None:
        return None
    parsed = ipaddress.ip_address(address)
    return ipaddress.ip_network((parsed, _PREFIX_LENGTHS[parsed.version]), strict=False)


def _program(user_agent: str | None) -> str:
    """The user agent without versions: a program stays the same when it is updated."""
    return _DIGITS.sub("", user_agent or "")
