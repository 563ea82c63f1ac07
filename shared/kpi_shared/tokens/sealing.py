"""PASETO v4.local and v4.public with a strict parser around the ``paseto`` library.

The library accepts non-canonical base64url and padding (vectors 4-F-4 and 4-F-5). So the parser here requires the
canonical form, limits every length before it parses, and turns each failure into one InvalidTokenError.
"""

import base64
import binascii
from typing import NoReturn, Protocol, cast

from paseto.exceptions import PasetoException
from paseto.keys.asymmetric_key import AsymmetricPublicKey, AsymmetricSecretKey
from paseto.keys.symmetric_key import SymmetricKey
from paseto.protocols.v4 import ProtocolVersion4

from kpi_shared.key_ring import Purpose, TokenKey
from kpi_shared.keys import KEY_BYTES

HEADER = "v4.local."
PUBLIC_HEADER = "v4.public."
HEADERS = {Purpose.LOCAL: HEADER, Purpose.PUBLIC: PUBLIC_HEADER}
# Our tokens have about 700 characters; a user name of 32 four-byte characters adds about 200.
MAX_TOKEN_LENGTH = 2048
MAX_FOOTER_LENGTH = 256
# Nonce and MAC of v4.local have 32 bytes each, the signature of v4.public 64, and the content has at least one.
_MIN_BODY_BYTES = 65


class InvalidTokenError(Exception):
    """The token is not valid. The reason is not disclosed."""


class TokenSeal(Protocol):
    """What one key does with tokens of its purpose. ``open`` expects a token that ``split`` has accepted."""

    kid: str

    def make(self, payload: bytes, footer: bytes) -> str: ...

    def open(self, token: str, implicit: bytes = b"") -> bytes: ...


def seal_of(key: TokenKey) -> TokenSeal:
    if key.purpose is Purpose.LOCAL:
        return _Local(key.material, key.kid)
    return _Public(key.material, key.kid, key.secret)


class _Local:
    def __init__(self, key: bytes, kid: str = "") -> None:
        self.kid = kid
        self._key = _symmetric_key(key)

    def make(self, payload: bytes, footer: bytes) -> str:
        return cast("bytes", ProtocolVersion4.encrypt(payload, self._key, footer=footer)).decode("ascii")

    def open(self, token: str, implicit: bytes = b"") -> bytes:
        try:
            return cast("bytes", ProtocolVersion4.decrypt(token.encode("ascii"), self._key, implicit=implicit))
        except (PasetoException, ValueError):
            _refuse()


class _Public:
    def __init__(self, public: bytes, kid: str = "", secret: bytes | None = None) -> None:
        self.kid = kid
        self._public = AsymmetricPublicKey(public, ProtocolVersion4)
        self._secret = AsymmetricSecretKey(secret, ProtocolVersion4) if secret is not None else None

    def make(self, payload: bytes, footer: bytes) -> str:
        assert self._secret is not None, "this key verifies only"  # noqa: S101 a ring of such keys mints nothing
        return cast("bytes", ProtocolVersion4.sign(payload, self._secret, footer=footer)).decode("ascii")

    def open(self, token: str, implicit: bytes = b"") -> bytes:
        try:
            return cast("bytes", ProtocolVersion4.verify(token.encode("ascii"), self._public, implicit=implicit))
        except (PasetoException, ValueError):
            _refuse()


def seal(payload: bytes, *, key: bytes, footer: bytes = b"", implicit: bytes = b"") -> str:
    token = ProtocolVersion4.encrypt(payload, _symmetric_key(key), footer=footer, implicit=implicit)
    return cast("bytes", token).decode("ascii")


def open_sealed(token: str, *, key: bytes, implicit: bytes = b"", longest: int = MAX_TOKEN_LENGTH) -> bytes:
    """Return the payload of a canonical v4.local token, or raise InvalidTokenError."""
    split(token, longest=longest)
    return _Local(key).open(token, implicit)


def open_signed(token: str, *, key: bytes, implicit: bytes = b"") -> bytes:
    """Return the payload of a canonical v4.public token under a public key, or raise InvalidTokenError."""
    split(token, PUBLIC_HEADER)
    return _Public(key).open(token, implicit)


def split(token: str, header: str = HEADER, *, longest: int = MAX_TOKEN_LENGTH) -> tuple[bytes, bytes]:
    """Return the decoded body and footer, after all checks that need no key."""
    if len(token) > longest or not token.isascii() or not token.startswith(header):
        raise InvalidTokenError
    body, dot, footer = token.removeprefix(header).partition(".")
    if dot and not footer:
        raise InvalidTokenError
    decoded_body, decoded_footer = _decode(body), _decode(footer)
    if len(decoded_body) < _MIN_BODY_BYTES or len(decoded_footer) > MAX_FOOTER_LENGTH:
        raise InvalidTokenError
    return decoded_body, decoded_footer


def _refuse() -> NoReturn:
    raise InvalidTokenError from None


def _symmetric_key(key: bytes) -> SymmetricKey:
    if len(key) != KEY_BYTES:
        raise InvalidTokenError
    return SymmetricKey(key, ProtocolVersion4)


def _decode(text: str) -> bytes:
    """Decode base64url without padding and spare bits: encoding must give the same text again."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        _refuse()
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != text:
        raise InvalidTokenError
    return data
