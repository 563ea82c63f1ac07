"""The memory of exchanges: by a hash of the key, each for seconds. No text of a key stays in memory.

`cachetools` 7 was looked at: its TTLCache has one lifetime for all entries and forgets expired ones, which are needed
here to tell a key that was valid before from a guessed one (2026-11-27).
"""

import math
import time
from collections import OrderedDict
from hashlib import blake2b
from secrets import token_bytes

from kpi_gateway.credentials.grants import Grant

_MAX_GRANTS = 20_000
_MAX_REFUSED = 10_000
# A key that was deactivated may become active again.
_REFUSED_SECONDS = 2.0
# A token in place of a refused one may be refused too, say by a service that lacks its key. Until one was accepted, the
# next exchange waits for this long, so that such a service makes no flood of them.
_UNPROVEN_SECONDS = 1.0
# ``until`` of a grant with a refused token.
_REFUSED = -math.inf


class KeyDigests:
    """Hashes keys under a secret of this process, so that what it remembers is of no use elsewhere."""

    def __init__(self) -> None:
        self._secret = token_bytes(32)

    def digest(self, key: bytes) -> bytes:
        return blake2b(key, key=self._secret, digest_size=16).digest()


class ExchangeMemory:
    """Valid and refused keys, apart from each other: wrong keys push out no valid ones."""

    def __init__(self, *, max_grants: int = _MAX_GRANTS, max_refused: int = _MAX_REFUSED) -> None:
        self._max_grants = max_grants
        self._max_refused = max_refused
        self._grants: OrderedDict[bytes, Grant] = OrderedDict()
        self._refused: OrderedDict[bytes, float] = OrderedDict()

    def find(self, digest: bytes) -> Grant | None:
        grant = self._grants.get(digest)
        if grant is None or grant.until <= time.monotonic():
            return None
        self._grants.move_to_end(digest)
        return grant

    def was_valid(self, digest: bytes) -> bool:
        """Whether the key was valid when it was exchanged last, however long ago."""
        return digest in self._grants

    def is_refused(self, digest: bytes) -> bool:
        return self._refused.get(digest, 0.0) > time.monotonic()

    def add(self, digest: bytes, grant: Grant) -> None:
        known = self._grants.get(digest)
        if known is not None and known.until == _REFUSED:
            grant = grant._replace(renewable_from=time.monotonic() + _UNPROVEN_SECONDS)
        self._grants[digest] = grant
        self._grants.move_to_end(digest)
        if len(self._grants) > self._max_grants:
            self._grants.popitem(last=False)

    def end_grants(self) -> None:
        """Exchange each key anew; which ones were valid stays known."""
        self._grants = OrderedDict((digest, grant._replace(until=0.0)) for digest, grant in self._grants.items())

    def end(self, digest: bytes, authorization: bytes) -> bool:
        """A service refused this token: exchange its key anew. False if that was done, and did not help."""
        grant = self._grants.get(digest)
        if grant is None or grant.authorization != authorization:
            # Another request with the same key was refused first.
            return True
        if time.monotonic() < grant.renewable_from:
            return False
        self._grants[digest] = grant._replace(until=_REFUSED)
        return True

    def prove(self, digest: bytes, authorization: bytes) -> None:
        """A service accepted this token, so if another one refuses it later, its key has changed again."""
        grant = self._grants.get(digest)
        if grant is not None and grant.authorization == authorization:
            self._grants[digest] = grant._replace(renewable_from=0.0)

    def refuse(self, digest: bytes, began: float) -> None:
        """``began`` is when auth was asked."""
        self._grants.pop(digest, None)
        self._refused[digest] = began + _REFUSED_SECONDS
        self._refused.move_to_end(digest)
        if len(self._refused) > self._max_refused:
            self._refused.popitem(last=False)

    @property
    def sizes(self) -> tuple[int, int]:
        """The numbers of valid and of refused keys."""
        return len(self._grants), len(self._refused)
