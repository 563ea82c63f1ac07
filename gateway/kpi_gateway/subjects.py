"""Whose token a request carries, as far as limits go: whether it counts for more is the services' to say."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterable

from kpi_shared.tokens import MAX_TOKEN_LENGTH, InvalidTokenError, TokenCodec

_REMEMBERED = 10_000
# A token that does not count now may in a while: its time begins a little later, by another machine's clock.
_REFUSED_SECONDS = 60.0


class _Memory:
    """The newest ``_REMEMBERED`` findings, each until its time."""

    def __init__(self) -> None:
        self._found: OrderedDict[bytes, tuple[str | None, float]] = OrderedDict()

    def get(self, digest: bytes, now: float) -> tuple[str | None, float] | None:
        found = self._found.get(digest)
        if found is None or found[1] <= now:
            return None
        self._found.move_to_end(digest)
        return found

    def put(self, digest: bytes, subject: str | None, until: float) -> None:
        self._found[digest] = (subject, until)
        self._found.move_to_end(digest)
        if len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)


class Subjects:
    """Opens tokens and remembers by their SHA-256 what was in them; the tokens themselves are not kept."""

    def __init__(self, codec: TokenCodec) -> None:
        self._codec = codec
        self._valid = _Memory()
        # Apart, so that nobody's garbage pushes out what is known of others.
        self._refused = _Memory()

    def of(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """The subject of the request's one token, or None where it has none that counts."""
        credentials = [value for name, value in headers if name == b"authorization"]
        if len(credentials) != 1:
            return None
        scheme, _, token = credentials[0].partition(b" ")
        token = token.strip(b" ")
        if scheme.lower() != b"bearer" or len(token) > MAX_TOKEN_LENGTH:
            return None
        return self._find(token)

    def _find(self, token: bytes) -> str | None:
        now = time.time()
        digest = hashlib.sha256(token).digest()
        found = self._valid.get(digest, now) or self._refused.get(digest, now)
        return found[0] if found is not None else self._open(token, digest, now)

    def _open(self, token: bytes, digest: bytes, now: float) -> str | None:
        try:
            subject = self._codec.verify(token.decode("latin-1"))
        except InvalidTokenError:
            self._refused.put(digest, None, now + _REFUSED_SECONDS)
            return None
        self._valid.put(digest, str(subject.id), subject.expires_at.timestamp())
        return str(subject.id)
