"""The names of a key ring's files in a folder of secrets, and how the first ring gets there."""

import os
import re
from pathlib import Path

from kpi_cli import keys, secret_files
from kpi_cli.errors import FailureError
from kpi_cli.token_keys.paserk import Purpose, encode, key_id
from kpi_cli.token_keys.ring import Ring, State, adopt, make_ring, now
from kpi_cli.token_keys.store import FileStore

# Auth's own, and that of the parts which only verify. With the purpose "local" both have the same keys.
RING = "paseto_keys.json"
VERIFIERS = "paseto_verifier_keys.json"
# Where an installation of before the ring has its keys, as hex digits.
FORMER_KEY = "paseto_secret_key"
FORMER_PREVIOUS_KEYS = "paseto_previous_keys"


def store_in(folder: Path) -> FileStore:
    return FileStore(folder / RING, [folder / VERIFIERS])


def ensure(folder: Path, purpose: Purpose | None) -> bool:
    """Make the ring if there is none, or if it has another purpose than the one that is demanded; return whether.

    The keys of before the ring become a part of it, so that no token becomes invalid. Those of another purpose cannot.
    """
    found: list[Ring] = []

    def keep_or_make(ring: Ring | None) -> Ring:
        if ring is None or purpose not in {None, ring.purpose}:
            return _make(folder, purpose or Purpose.LOCAL)
        found.append(ring)
        return ring

    _remove_former(folder, store_in(folder).make(keep_or_make))
    return not found


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
    if purpose is Purpose.LOCAL and former and not secret_files.read(folder / RING):
        previous = [key for key in re.split(r"[,\s]+", secret_files.read(folder / FORMER_PREVIOUS_KEYS)) if key]
        _check_former(folder, former, *previous)
        return adopt(former, previous, now())
    return make_ring(purpose, now())


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
