"""The keys of the tokens at one moment."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from kpi_shared.keys import key_id


class Purpose(StrEnum):
    """``local``: one shared key seals and opens (v4.local). ``public``: auth signs, others verify (v4.public)."""

    LOCAL = "local"
    PUBLIC = "public"


class TokenKeyState(StrEnum):
    """What a key is used for. Only a key of the first three states is in a ring."""

    # Known, so that its tokens are accepted as soon as a part begins to mint with it.
    NEXT = "next"
    ACTIVE = "active"
    VERIFY_ONLY = "verify-only"
    RETIRED = "retired"
    # As retired, and never accepted again in this process.
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class TokenKey:
    """``material`` opens tokens: the key of v4.local, or the public key of v4.public, whose ``secret`` signs."""

    purpose: Purpose
    kid: str
    material: bytes = field(repr=False)
    secret: bytes | None = field(default=None, repr=False)

    @classmethod
    def local(cls, key: bytes) -> "TokenKey":
        return cls(Purpose.LOCAL, key_id(key), key)

    @property
    def can_mint(self) -> bool:
        return self.purpose is Purpose.LOCAL or self.secret is not None


class RingKey(NamedTuple):
    key: TokenKey
    state: TokenKeyState


class KeyRing:
    """Never changes: another ring takes its place. All keys have its purpose.

    ``active`` mints; None if it was killed and no next key can take its place. ``killed`` keys are in no ring that is
    made from this one.
    """

    def __init__(self, purpose: Purpose, keys: Iterable[RingKey], *, killed: Collection[str] = ()) -> None:
        self.purpose = purpose
        self.killed = frozenset(killed)
        self._keys = {each.key.kid: each for each in keys if each.key.kid not in self.killed}
        self._promote_next()
        self.active = self._find_state(TokenKeyState.ACTIVE)

    @classmethod
    def local(cls, current: bytes, previous: Iterable[bytes] = ()) -> "KeyRing":
        """The ring of a current key of v4.local, and previous ones, which still open their tokens."""
        old = (RingKey(TokenKey.local(key), TokenKeyState.VERIFY_ONLY) for key in previous)
        return cls(Purpose.LOCAL, (*old, RingKey(TokenKey.local(current), TokenKeyState.ACTIVE)))

    def _promote_next(self) -> None:
        if not self.killed or self._find_state(TokenKeyState.ACTIVE) is not None:
            return
        heir = self._find_state(TokenKeyState.NEXT)
        if heir is not None:
            self._keys[heir.kid] = RingKey(heir, TokenKeyState.ACTIVE)

    def _find_state(self, state: TokenKeyState) -> TokenKey | None:
        return next((each.key for each in self._keys.values() if each.state is state), None)

    def __contains__(self, kid: object) -> bool:
        return kid in self._keys

    def find(self, kid: str) -> TokenKey | None:
        found = self._keys.get(kid)
        return found.key if found is not None else None

    @property
    def keys(self) -> tuple[TokenKey, ...]:
        """All keys, the active one first."""
        return tuple(each.key for each in sorted(self._keys.values(), key=lambda each: each.key is not self.active))

    @property
    def states(self) -> dict[str, str]:
        """The state of each key by its id."""
        return {kid: each.state.value for kid, each in self._keys.items()}

    @property
    def symmetric_keys(self) -> tuple[bytes, ...]:
        """The keys of v4.local, the active one first: none in a ring of v4.public."""
        return tuple(key.material for key in self.keys) if self.purpose is Purpose.LOCAL else ()

    def kill(self, kids: Collection[str]) -> "KeyRing":
        """The ring without these keys. If the active one is among them, the next one takes its place."""
        return KeyRing(self.purpose, self._keys.values(), killed=self.killed.union(kids))
