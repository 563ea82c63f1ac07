"""Idempotency-Key: its syntax, whose it is, and the hash by which it is stored."""

import hashlib
import re
from collections.abc import Sequence

from kpi_shared.addresses import Address, client_network
from kpi_shared.caller import Subject
from kpi_shared.idempotency.errors import MalformedKeyError

# The draft wants a string of RFC 8941 (3.3.3), in quotes. Most clients send the bare value, which is the same key.
_KEY = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"|([\x21\x23-\x7e]{1,255})')
_ESCAPED = re.compile(r"\\(.)")


def parse_key(lines: Sequence[str]) -> str | None:
    """The key of all lines of the header; None if there are none, MalformedKeyError if they are not one key."""
    if not lines:
        return None
    found = _KEY.fullmatch(lines[0].strip(" \t")) if len(lines) == 1 else None
    if found is None:
        raise MalformedKeyError
    return found[2] or _ESCAPED.sub(r"\1", found[1])


def owner_of(caller: Subject | None, address: Address | None = None) -> str:
    """Whose keys these are: an API key's own, a person's in all sessions, or those of a client's network.

    An API key has its own, because it must not get the text of a key with more rights that its owner has made.
    """
    if caller is None:
        return f"network {client_network(address)}" if address is not None else "no address"
    return f"user {caller.id}" if caller.api_key_id is None else f"key {caller.api_key_id}"


def hash_key(key: str, owner: str) -> bytes:
    """What the table has of a key. It depends on no secret, so that each replica finds it while secrets change."""
    return hashlib.blake2b(f"{owner}\n{key}".encode(), person=b"kpi-once", digest_size=32).digest()
