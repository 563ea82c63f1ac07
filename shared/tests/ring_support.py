"""Key rings as JSON, with keys of both purposes."""

import json
import secrets
from collections.abc import Mapping
from typing import NamedTuple

from kpi_shared.paserk import PaserkType, encode_paserk, identify
from paseto.keys.asymmetric_key import AsymmetricSecretKey
from paseto.protocols.v4 import ProtocolVersion4


class MadeKey(NamedTuple):
    """The id of a key and its texts, for the part that mints and for the others."""

    kid: str
    minting: str
    verifying: str


def make_local(key: bytes | None = None) -> MadeKey:
    key = key or secrets.token_bytes(32)
    text = encode_paserk(PaserkType.LOCAL, key)
    return MadeKey(identify(PaserkType.LOCAL, key), text, text)


def make_public() -> MadeKey:
    secret = AsymmetricSecretKey.generate(ProtocolVersion4).key
    public = secret[32:]
    texts = encode_paserk(PaserkType.SECRET, secret), encode_paserk(PaserkType.PUBLIC, public)
    return MadeKey(identify(PaserkType.PUBLIC, public), *texts)


def ring_text(keys: Mapping[MadeKey, str], *, mints: bool = True, purpose: str | None = None) -> str:
    """The ring of these keys, by their states."""
    kinds = {"local" if made.kid.startswith("k4.lid.") else "public" for made in keys}
    entries = [{"key": made.minting if mints else made.verifying, "state": state} for made, state in keys.items()]
    return json.dumps({"purpose": purpose or kinds.pop(), "keys": entries})
