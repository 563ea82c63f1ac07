"""The key ring as JSON: ``{"purpose": "local", "keys": [{"key": "k4.local...", "state": "active"}, ...]}``.

A key that is ``retired`` or ``killed`` may be listed by its ``kid`` alone. Further members are ignored. No error quotes
a key.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, SecretStr, StringConstraints, ValidationError

from kpi_shared.key_ring.ring import KeyRing, Purpose, RingKey, TokenKey, TokenKeyState
from kpi_shared.keys import check_strength
from kpi_shared.paserk import PaserkType, decode_paserk, identify

# A hundred keys; what is larger is another file.
MAX_BYTES = 64 * 1024
_GONE = frozenset({TokenKeyState.RETIRED, TokenKeyState.KILLED})
_TYPES = {Purpose.LOCAL: {PaserkType.LOCAL}, Purpose.PUBLIC: {PaserkType.PUBLIC, PaserkType.SECRET}}
_SEED_BYTES = 32


class BadRingError(ValueError):
    """A key ring that cannot be used; the message quotes no key."""


# Nothing else gets into a message or a log as the id of a key: not a key in the wrong place.
_Kid = Annotated[str, StringConstraints(pattern=r"^k4\.(lid|pid)\.[A-Za-z0-9_-]{44}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    state: TokenKeyState
    key: SecretStr | None = None
    kid: _Kid | None = None


class _File(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    purpose: Purpose
    keys: list[_Entry]


class _Read(NamedTuple):
    kid: str
    state: TokenKeyState
    key: TokenKey | None


def parse_ring(text: str | bytes, *, purpose: Purpose, mints: bool) -> KeyRing:
    """The ring of a part; ``mints`` is whether it signs or seals tokens. BadRingError if the text is not one."""
    file = _parse_file(text)
    if file.purpose is not purpose:
        raise BadRingError(f'its purpose is "{file.purpose}", but TOKEN_PURPOSE is "{purpose}"')
    entries = [_parse_entry(at, entry, purpose, mints) for at, entry in enumerate(file.keys, start=1)]
    killed = {each.kid for each in entries if each.state is TokenKeyState.KILLED}
    _check_states(entries, is_bare=bool(killed), mints=mints)
    ring = [RingKey(each.key, each.state) for each in entries if each.key is not None and each.state not in _GONE]
    return KeyRing(purpose, ring, killed=killed)


def require_active(ring: KeyRing) -> KeyRing:
    """BadRingError for a ring in which no key is active."""
    if ring.active is None:
        raise BadRingError("no key is active; one must be")
    return ring


def _parse_file(text: str | bytes) -> _File:
    if len(text) > MAX_BYTES:
        raise BadRingError(f"it has more than {MAX_BYTES} bytes")
    try:
        return _File.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise BadRingError(_describe(first["loc"], first["msg"])) from None


def _describe(location: Sequence[int | str], message: str) -> str:
    """Where the error is, counting keys from one."""
    if len(location) > 1 and isinstance(location[1], int):
        return f"key {location[1] + 1}: {'.'.join(map(str, location[2:]))}: {message}"
    return f"{'.'.join(map(str, location))}: {message}" if location else message


def _parse_entry(at: int, entry: _Entry, purpose: Purpose, mints: bool) -> _Read:
    if entry.key is None:
        if entry.kid is None or entry.state not in _GONE:
            raise BadRingError(f"key {at}: a key is needed; only a retired or killed one may be listed by its kid")
        return _Read(entry.kid, entry.state, None)
    try:
        key = parse_token_key(entry.key.get_secret_value(), purpose)
        _check_use(key, entry.state, mints=mints)
    except ValueError as error:
        raise BadRingError(f"key {at}: {error}") from None
    if entry.kid not in (None, key.kid):
        raise BadRingError(f"key {at}: its kid is not that of its key, {key.kid}")
    return _Read(key.kid, entry.state, key)


def parse_token_key(text: str, purpose: Purpose) -> TokenKey:
    """A key as PASERK text; ValueError if it is of another purpose, weak or published."""
    kind, material = decode_paserk(text.strip())
    if kind not in _TYPES[purpose]:
        raise ValueError(f"{kind}.. is no key of the purpose {purpose}")
    if kind is not PaserkType.SECRET:
        check_strength(material)
        return TokenKey(purpose, identify(kind, material), material)
    seed, public = material[:_SEED_BYTES], material[_SEED_BYTES:]
    check_strength(seed)
    _check_halves(material, public)
    return TokenKey(purpose, identify(PaserkType.PUBLIC, check_strength(public)), public, material)


def _check_halves(secret: bytes, public: bytes) -> None:
    """ValueError unless the public half is the seed's own: signatures under another one reveal the seed."""
    # Only who reads such a key needs libsodium here.
    from paseto.exceptions import PasetoException  # noqa: PLC0415
    from paseto.keys.asymmetric_key import AsymmetricPublicKey, AsymmetricSecretKey  # noqa: PLC0415
    from paseto.protocols.v4 import ProtocolVersion4  # noqa: PLC0415

    signed = ProtocolVersion4.sign(b"{}", AsymmetricSecretKey(secret, ProtocolVersion4))
    try:
        ProtocolVersion4.verify(signed, AsymmetricPublicKey(public, ProtocolVersion4))
    except PasetoException:
        raise ValueError("the two halves of k4.secret... do not belong together") from None


def _check_use(key: TokenKey, state: TokenKeyState, *, mints: bool) -> None:
    if mints and not key.can_mint and state in (TokenKeyState.ACTIVE, TokenKeyState.NEXT):
        raise ValueError(f"this part mints tokens, so a key that is {state} must be k4.secret...")
    if not mints and key.secret is not None:
        raise ValueError("k4.secret... is for the part that mints tokens alone; k4.public... is needed here")


def _check_states(entries: Sequence[_Read], *, is_bare: bool, mints: bool) -> None:
    """``is_bare``: a key has been killed, so that there may be no active one."""
    kids = [each.kid for each in entries]
    twice = next((kid for kid in kids if kids.count(kid) > 1), None)
    if twice is not None:
        raise BadRingError(f"{twice} is listed twice")
    active, following = (
        sum(each.state is state for each in entries) for state in (TokenKeyState.ACTIVE, TokenKeyState.NEXT)
    )
    if active > 1:
        raise BadRingError(f"{active} keys are active; one must be")
    if following > 1:
        raise BadRingError(f"{following} keys are next; one may be")
    if not active and mints and not is_bare:
        raise BadRingError("no key is active; one must be")
    if not is_bare and all(each.state in _GONE for each in entries):
        raise BadRingError("it has no key")
