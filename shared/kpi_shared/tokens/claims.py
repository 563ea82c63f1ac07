"""The claims of a token, each checked as a value from outside; InvalidTokenError for any that is not valid."""

import json
import re
from datetime import datetime
from typing import Any, NoReturn

from kpi_shared.caller import Role, Scope
from kpi_shared.tokens.sealing import InvalidTokenError

_MAX_ID = 2**63 - 1
_SCOPES = frozenset(scope.value for scope in Scope)
# The number of a session, or that of an API key.
_SESSION_ID = re.compile(r"(?:key-)?([1-9][0-9]{0,18})", re.ASCII)


def _refuse() -> NoReturn:
    raise InvalidTokenError from None


def parse_kid(footer: bytes) -> str:
    members = parse_object(footer)
    kid = members.get("kid")
    if set(members) != {"kid"} or not isinstance(kid, str):
        raise InvalidTokenError
    return kid


def parse_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        _refuse()
    if not isinstance(value, dict):
        raise InvalidTokenError
    return value


def parse_instant(value: object) -> datetime:
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        _refuse()
    if instant is None or instant.tzinfo is None:
        raise InvalidTokenError
    return instant


def parse_user_id(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(_MAX_ID)) or not 0 < int(text) <= _MAX_ID:
        raise InvalidTokenError
    return int(text)


def check_session_id(text: str) -> str:
    """A session's or an API key's number, as auth writes it; the form of any further kind of ``sid`` belongs here."""
    found = _SESSION_ID.fullmatch(text)
    if found is None or int(found[1]) > _MAX_ID:
        raise InvalidTokenError
    return text


def parse_version(value: object) -> int:
    # A boolean is an int to Python.
    if type(value) is not int or not 0 < value <= _MAX_ID:
        raise InvalidTokenError
    return value


def parse_role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        _refuse()


def parse_scopes(text: object) -> frozenset[Scope]:
    """The known scopes; others, which a later version may define, give nothing here."""
    if not isinstance(text, str):
        raise InvalidTokenError
    return frozenset(Scope(word) for word in text.split(" ") if word in _SCOPES)


def format_rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
