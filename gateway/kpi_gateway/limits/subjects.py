"""The subject of a request's token, for rate limits only. The services decide whether the token grants access."""

import time
from collections import OrderedDict
from collections.abc import Iterable

from kpi_shared.tokens import MAX_TOKEN_LENGTH, InvalidTokenError, TokenCodec, token_digest

_MAX_REFUSED = 10_000
# A token that is refused now may become valid: its "not before" time may be slightly ahead on another machine's clock.
_REFUSED_SECONDS = 60.0


class _RefusedTokens:
    """The digests of the most recent tokens that were refused, each for a limited time."""

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __contains__(self, digest: bytes) -> bool:
        until = self._until.get(digest)
        if until is None or until <= time.time():
            return False
        self._until.move_to_end(digest)
        return True

    def clear(self) -> None:
        self._until.clear()

    def add(self, digest: bytes) -> None:
        self._until[digest] = time.time() + _REFUSED_SECONDS
        self._until.move_to_end(digest)
        if len(self._until) > _MAX_REFUSED:
            self._until.popitem(last=False)


class Subjects:
    """Finds the subject of a token. The codec remembers valid tokens by their digest; refused ones are kept here.

    The two memories are separate, so that invalid tokens cannot push out valid ones.
    """

    def __init__(self, codec: TokenCodec) -> None:
        self._codec = codec
        self._refused = _RefusedTokens()
        # Tokens of a key that has come meanwhile are valid now.
        codec.on_change.append(lambda _ring: self._refused.clear())

    def find(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """The subject of the request's token, or None unless there is exactly one token and it is valid."""
        token = _find_token(headers)
        if token is None:
            return None
        digest = token_digest(token)
        subject = self._codec.find_verified(digest)
        if subject is not None:
            return str(subject.id)
        return None if digest in self._refused else self._verify(token, digest)

    def _verify(self, token: bytes, digest: bytes) -> str | None:
        try:
            return str(self._codec.verify(token.decode("latin-1")).id)
        except InvalidTokenError:
            self._refused.add(digest)
            return None


def _find_token(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    found = None
    for name, value in headers:
        if name == b"authorization":
            if found is not None:
                return None
            found = value
    if found is None or found[:7].lower() != b"bearer ":
        return None
    token = found[7:].strip(b" ")
    return token if len(token) <= MAX_TOKEN_LENGTH else None
