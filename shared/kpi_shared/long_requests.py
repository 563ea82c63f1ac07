"""What an application and its server tell each other about a request that lasts, by members of its scope."""

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

_AT_STOP = "at_stop"
_IS_STOPPING = "is_stopping"
_MAY_BE_SLOW = "may_be_slow"
_WAS_SLOW_READER = "was_slow_reader"

Members = MutableMapping[str, Any]


def call_at_stop(scope: Members, end: Callable[[], None]) -> None:
    """Call ``end`` when the server stops, at once if it does already: it waits for all responses, and one without an
    end of its own would be cut when the time for that is over.
    """
    if _IS_STOPPING in scope:
        end()
    else:
        scope[_AT_STOP] = end


def announce_stop(scope: Members) -> None:
    """Called by the server when it stops, for each request that has no complete response."""
    scope[_IS_STOPPING] = True
    end = scope.get(_AT_STOP)
    if end is not None:
        end()


def has_lasting_response(scope: Mapping[str, Any]) -> bool:
    """Whether its response has no end of its own: a client that closes its sending side has most likely left."""
    return _AT_STOP in scope


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
