"""The names of a key ring's files in a folder of secrets, and how the first ring gets there."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kpi_cli import keys, secret_files
from kpi_cli.errors import FailureError
from kpi_cli.token_keys.paserk import Purpose, encode, key_id
from kpi_cli.token_keys.ring import Ring, State, adopt, make_ring, now
from kpi_cli.token_keys.store import FileStore

# Auth's own, and that of the parts which only verify. With the purpose "local" both have the same keys.
RING = "paseto_keys.json"
VERIFIERS = "paseto_verifier_keys.json"
# For parts whose TOKEN_PURPOSE_FILE names it: which tokens the ring is for.
PURPOSE = "token_purpose"
# Where an installation of before the ring has its keys, as hex digits.
FORMER_KEY = "paseto_secret_key"
FORMER_PREVIOUS_KEYS = "paseto_previous_keys"
# The same keys for auth's PASETO_PREVIOUS_KEYS: sessions and API keys of before AUTH_SECRET_KEY depend on them.
FORMER_FOR_SESSIONS = "auth_former_token_keys"


def store_in(folder: Path) -> FileStore:
    return FileStore(folder / RING, [folder / VERIFIERS])


def ensure(folder: Path, purpose: Purpose | None) -> str:
    """Make the ring if there is none, or if it has another purpose than the one that is demanded.

    Return what was made, empty if nothing was. The keys of before the ring become a part of it, so that no token
    becomes invalid. Those of another purpose cannot; what was killed stays so.
    """
    made: list[str] = []

    def keep_or_make(ring: Ring | None) -> Ring:
        if ring is None:
            made.append("made a new key ring")
            return _make(folder, purpose or Purpose.LOCAL)
        if purpose is None or purpose is ring.purpose:
            return ring
        made.append(f"replaced the {ring.purpose} key ring by a {purpose} one: clients need to refresh once")
        new = make_ring(purpose, now())
        return replace(new, keys=(*new.keys, *ring.in_state(State.KILLED)))

    ring = store_in(folder).make(keep_or_make)
    _keep_for_sessions(folder)
    _remove_former(folder, ring)
    return "".join(made)


def write_purpose(folder: Path) -> None:
    """For parts in containers, whose settings are the same for both purposes."""
    purpose = store_in(folder).read().purpose
    if secret_files.read(folder / PURPOSE) != purpose:
        secret_files.write(folder / PURPOSE, purpose)


def make_first(path: Path, copies: Sequence[Path], purpose: Purpose, hex_files: Sequence[Path]) -> Ring:
    """Make the first ring of an installation, of the keys in ``hex_files`` (the present one first) or of a new one."""
    for place in (path, *copies):
        if place.exists():
            raise FailureError("keys", f"{place} exists already", fix="remove it first, if it is of no use", code=2)
    former = [key for file in hex_files for key in _read_list(file)]
    for key in former:
        if problem := keys.problem(key):
            raise FailureError("keys", f"a former key: {problem}", code=2)
    if former and purpose is not Purpose.LOCAL:
        raise FailureError("keys", f"keys in hex digits are of no {purpose} ring", fix="leave out one option", code=2)
    ring = adopt(former[0], former[1:], now()) if former else make_ring(purpose, now())
    return FileStore(path, copies).make(lambda _: ring)


def demanded_purpose() -> Purpose | None:
    """What TOKEN_PURPOSE demands; None: the ring keeps the purpose that it has."""
    found = os.environ.get("TOKEN_PURPOSE")
    if found and found not in set(Purpose):
        raise FailureError("keys", f"TOKEN_PURPOSE is {found}", fix="set it to local or public", code=2)
    return Purpose(found) if found else None


def purpose_in(folder: Path) -> Purpose:
    """Which tokens the ring there is for, or the default if there is no usable one yet."""
    try:
        return store_in(folder).read().purpose
    except FailureError:
        return Purpose.LOCAL


def _make(folder: Path, purpose: Purpose) -> Ring:
    former = secret_files.read(folder / FORMER_KEY)
    if purpose is Purpose.LOCAL and former:
        previous = _read_list(folder / FORMER_PREVIOUS_KEYS)
        _check_former(folder, former, *previous)
        return adopt(former, previous, now())
    return make_ring(purpose, now())


def _read_list(path: Path) -> list[str]:
    return [key for key in re.split(r"[,\s]+", secret_files.read(path)) if key]


def _keep_for_sessions(folder: Path) -> None:
    """Former keys leave the ring with its rotations, and what auth derived from them lives longer."""
    path = folder / FORMER_FOR_SESSIONS
    names = (FORMER_FOR_SESSIONS, FORMER_KEY, FORMER_PREVIOUS_KEYS)
    kept = dict.fromkeys(key for name in names for key in _read_list(folder / name) if not keys.problem(key))
    if not path.exists() or list(kept) != _read_list(path):
        secret_files.write(path, ",".join(kept))


def _check_former(folder: Path, *found: str) -> None:
    for key in found:
        if problem := keys.problem(key):
            path = folder / FORMER_KEY
            raise FailureError("key", f"{path}: {problem}", fix=f"replace it with a new one: rm {path} && make up")


def _remove_former(folder: Path, ring: Ring) -> None:
    """A version of before the ring could still start with these files, until the key in them is of no use."""
    former = secret_files.read(folder / FORMER_KEY)
    if keys.problem(former):
        return
    kid = key_id(encode("local", bytes.fromhex(former)))
    if kid not in {key.kid for key in ring.in_state(State.ACTIVE, State.NEXT, State.VERIFY_ONLY)}:
        for name in (FORMER_KEY, FORMER_PREVIOUS_KEYS):
            (folder / name).unlink(missing_ok=True)
