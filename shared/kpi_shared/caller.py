"""The caller of a request, as identified by a verified token."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"


class Scope(StrEnum):
    """What an API key may do: read, change, and do what is for admins. Each includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


_INCLUDED = {
    Scope.READ: (Scope.READ,),
    Scope.WRITE: (Scope.READ, Scope.WRITE),
    Scope.ADMIN: (Scope.READ, Scope.WRITE, Scope.ADMIN),
}
# The ``sid`` of a token that was issued for an API key: this, and the key's id.
_KEY_SESSION = "key-"
_ID_DIGITS = 19


def expand_scopes(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """The scopes with all that they include, in the order of ``Scope``."""
    included = {each for scope in scopes for each in _INCLUDED[scope]}
    return tuple(scope for scope in Scope if scope in included)


def key_session_id(api_key_id: int) -> str:
    """The ``sid`` of the tokens of an API key."""
    return f"{_KEY_SESSION}{api_key_id}"


def is_key_session_id(session_id: str) -> bool:
    return session_id.startswith(_KEY_SESSION)


@dataclass(frozen=True, slots=True)
class Subject:
    """The account to which a verified token was issued.

    ``scopes`` are those of an API key, with all that they include; None for a person, who may do all that the role
    allows. ``account_version`` is that of the account when the token was minted, None from an auth that did not write
    it yet. ``role`` is narrowed: with scopes that do not include ``admin`` it is never that of an admin.
    ``token_key_id`` is the ``kid`` of the key that opened the token. ``api_key_ends_at`` is when its API key expires,
    which nothing that lasts longer than the token may outlive; None if there is no such time.
    """

    id: int
    username: str
    role: Role
    session_id: str
    token_id: str
    expires_at: datetime
    scopes: frozenset[Scope] | None = None
    account_version: int | None = None
    token_key_id: str | None = None
    api_key_ends_at: datetime | None = None

    @property
    def api_key_id(self) -> int | None:
        """The id of the API key that the token was issued for; None for a person's session."""
        text = self.session_id.removeprefix(_KEY_SESSION)
        is_key = text != self.session_id and text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS
        return int(text) if is_key else None

    def may(self, scope: Scope) -> bool:
        """Whether the scopes allow it. Whether the role does is another question."""
        return self.scopes is None or scope in self.scopes

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN
