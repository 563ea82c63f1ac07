"""Keys of PASETO v4 as texts (PASERK): how they are made, and by which id tokens name them."""

import base64
import ctypes
import hashlib
import re
import secrets
from ctypes.util import find_library
from enum import StrEnum

from kpi_cli import keys
from kpi_cli.errors import FailureError

KEY_BYTES = 32


class Purpose(StrEnum):
    """``local``: all parts share each key. ``public``: auth alone can sign, and the other parts verify."""

    LOCAL = "local"
    PUBLIC = "public"


_LENGTHS = {"local": KEY_BYTES, "public": KEY_BYTES, "secret": 2 * KEY_BYTES}
_PURPOSES = {"local": Purpose.LOCAL, "public": Purpose.PUBLIC, "secret": Purpose.PUBLIC}
KEY_ID = re.compile(r"k4\.(lid|pid)\.[A-Za-z0-9_-]{44}")


class KeyTextError(ValueError):
    """A text that is no key, or a key that must not be used; the message does not quote it."""


def make(purpose: Purpose) -> str:
    """A new key of the part that mints: ``k4.local`` or ``k4.secret``, from the system's generator."""
    seed = secrets.token_bytes(KEY_BYTES)
    return encode("local", seed) if purpose is Purpose.LOCAL else encode("secret", seed + _public_half(seed))


def encode(kind: str, key: bytes) -> str:
    """``k4.KIND.`` and the key."""
    return f"k4.{kind}.{_base64url(key)}"


def decode(text: str) -> tuple[str, bytes]:
    """The kind of a key and its bytes; raises KeyTextError."""
    found = re.fullmatch(r"k4\.(local|public|secret)\.([A-Za-z0-9_-]+)", text)
    if found is None:
        raise KeyTextError("it is not a PASERK key: k4.local, k4.public or k4.secret")
    kind, body = found.groups()
    key = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    if len(key) != _LENGTHS[kind] or _base64url(key) != body:
        raise KeyTextError(f"k4.{kind} needs {_LENGTHS[kind]} bytes in canonical base64url")
    if problem := keys.weakness(key[:KEY_BYTES]) if kind != "public" else "":
        raise KeyTextError(problem)
    return kind, key


def purpose_of(text: str) -> Purpose:
    """Which tokens a key is for; raises KeyTextError."""
    return _PURPOSES[decode(text)[0]]


def key_id(text: str) -> str:
    """``k4.lid`` of a local key, ``k4.pid`` of the public half of a pair, as in the footers of tokens.

    Source: the PASERK specification, operations/ID: BLAKE2b-264 over the id's prefix and the key's text.
    """
    public = verifying_form(text)
    prefix = "k4.lid." if purpose_of(text) is Purpose.LOCAL else "k4.pid."
    return prefix + _base64url(hashlib.blake2b((prefix + public).encode(), digest_size=33).digest())


def verifying_form(text: str) -> str:
    """What the parts that only verify may hold: the public half of a pair, and a local key as it is."""
    kind, key = decode(text)
    return encode("public", key[KEY_BYTES:]) if kind == "secret" else text


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _public_half(seed: bytes) -> bytes:
    """The Ed25519 public key of a seed, by the library that the parts use too."""
    name = find_library("sodium")
    if name is None:
        raise FailureError("libsodium", "it is not installed, and keys of public tokens need it")
    public, secret = ctypes.create_string_buffer(KEY_BYTES), ctypes.create_string_buffer(2 * KEY_BYTES)
    if ctypes.CDLL(name).crypto_sign_seed_keypair(public, secret, seed):
        raise FailureError("libsodium", "it could not make a pair of keys")
    return public.raw
