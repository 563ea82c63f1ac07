"""PASERK: keys of PASETO version 4 as text, and the ids that name them without revealing them.

Source: the PASERK specification, types ``local``, ``public``, ``secret``, ``lid``, ``pid`` and ``sid``.
"""

import base64
import binascii
import hashlib
from enum import StrEnum


class PaserkType(StrEnum):
    """The header of each type."""

    LOCAL = "k4.local."
    PUBLIC = "k4.public."
    SECRET = "k4.secret."  # noqa: S105 a header


# An Ed25519 secret key is its seed and its public key.
_BYTES = {PaserkType.LOCAL: 32, PaserkType.PUBLIC: 32, PaserkType.SECRET: 64}
_ID_HEADERS = {PaserkType.LOCAL: "k4.lid.", PaserkType.PUBLIC: "k4.pid.", PaserkType.SECRET: "k4.sid."}
_ID_BYTES = 33


def encode_paserk(kind: PaserkType, key: bytes) -> str:
    if len(key) != _BYTES[kind]:
        raise ValueError(f"a {kind.name.lower()} key has {_BYTES[kind]} bytes, got {len(key)}")
    return kind + _base64url(key)


def decode_paserk(text: str) -> tuple[PaserkType, bytes]:
    """The type and the bytes of a key; ValueError, which does not quote it, unless it is canonical."""
    kind = next((each for each in PaserkType if text.startswith(each)), None)
    if kind is None:
        raise ValueError("a key of the form k4.local..., k4.public... or k4.secret... is needed")
    try:
        key = _decode(text.removeprefix(kind))
    except (binascii.Error, ValueError):
        raise ValueError(f"{kind}.. is not followed by base64url") from None
    if len(key) != _BYTES[kind]:
        raise ValueError(f"{kind}.. needs {_BYTES[kind]} bytes, got {len(key)}")
    if encode_paserk(kind, key) != text:
        raise ValueError(f"{kind}.. is not followed by canonical base64url")
    return kind, key


def identify(kind: PaserkType, key: bytes) -> str:
    """The id of a key: BLAKE2b-264 over the header of the id and the key's own text."""
    header = _ID_HEADERS[kind]
    digest = hashlib.blake2b((header + encode_paserk(kind, key)).encode(), digest_size=_ID_BYTES).digest()
    return header + _base64url(digest)


def _decode(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
