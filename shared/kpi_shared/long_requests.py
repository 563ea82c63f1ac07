"""What an application and its server tell each other about a request that lasts, by members of its scope."""

from collections.abc import Mapping, MutableMapping
from typing import Any

_IS_LASTING = "is_lasting"
_MAY_BE_SLOW = "may_be_slow"
_WAS_SLOW_READER = "was_slow_reader"

Members = MutableMapping[str, Any]


def mark_lasting(scope: Members) -> None:
    """Tell the server that the response has no end of its own."""
    scope[_IS_LASTING] = True


def has_lasting_response(scope: Mapping[str, Any]) -> bool:
    """A client that closes its sending side has most likely left then: the server finds out at once."""
    return _IS_LASTING in scope


def allow_slow_body(scope: Members) -> None:
    """Accept a body that arrives with pauses. How long these may be is for the application to decide."""
    scope[_MAY_BE_SLOW] = True


def may_have_slow_body(scope: Mapping[str, Any]) -> bool:
    return _MAY_BE_SLOW in scope


def note_slow_reader(scope: Members) -> None:
    """Called by the server when it closes the connection of a client that does not read its response."""
    scope[_WAS_SLOW_READER] = True


def was_slow_reader(scope: Mapping[str, Any]) -> bool:
    return _WAS_SLOW_READER in scope
