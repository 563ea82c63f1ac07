"""The chain of audit records: what the hash of a record covers, and how it is made (docs/audit.md).

A hash is an HMAC-SHA256 over the hash of the record before it and the record itself, so that the owner of the database,
who does not have the key, can compute none. It is stored with the version of the form and the id of the key.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from kpi_auth.audit.models import CheckpointKind
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.secret_keys import SecretKeys

VERSION = 1
_KEY_ID_BYTES = 4
_MAC_BYTES = 32
HASH_BYTES = 1 + _KEY_ID_BYTES + _MAC_BYTES
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Record(NamedTuple):
    """What a hash covers of a row, in this order. ``at`` is RFC 3339 in UTC with microseconds, ``details`` its JSON."""

    id: int
    at: str
    event: str
    actor_id: int | None
    subject_id: int | None
    key_id: int | None
    address: str | None
    user_agent: str | None
    request_id: str | None
    details: str


class Place(NamedTuple):
    """A place of the chain; the first record has the number 1."""

    seq: int
    hash: bytes


class Link(NamedTuple):
    """The place that a record gets."""

    id: int
    place: Place


class Checkpoint(NamedTuple):
    """A signed statement about a place; ``at`` is RFC 3339 in UTC."""

    kind: str
    at: str
    place: Place
    signature: bytes


GENESIS = Place(0, bytes(HASH_BYTES))
Judgement = Literal["good", "bad", "unknown-key", "unknown-version"]


def find_start(checkpoints: Iterable[Checkpoint]) -> Place:
    """The place behind which the chain begins."""
    starts = [each.place for each in checkpoints if each.kind == CheckpointKind.START]
    return max(starts, default=GENESIS)


def parse_time(text: str) -> datetime | None:
    """The time of a record; None if it is none that this service writes: before 1970, beyond 9999, or infinite."""
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


class ChainKeys:
    """Chains records and signs checkpoints with the current key, and accepts what earlier keys made.

    The key of the tokens, which other parts have too, is among them only without AUTH_SECRET_KEY: else those parts
    could write a chain that this service accepts.
    """

    def __init__(self, settings: AuthSettings) -> None:
        secrets = SecretKeys(settings)
        self._of_records = _Keys(secrets.derive_own(b"kpi-audit"))
        self._of_checkpoints = _Keys(secrets.derive_own(b"kpi-audit-signs"))

    def chain(self, records: Iterable[Record], *, after: Place) -> list[Link]:
        """Give each record the next place."""
        links = []
        for record in records:
            seq = after.seq + 1
            after = Place(seq, self._of_records.make(after.hash + _serialise(seq, record)))
            links.append(Link(record.id, after))
        return links

    def judge(self, record: Record, place: Place, *, after: bytes) -> Judgement:
        """Is the hash of this place the one of the record, behind a record with the hash ``after``?"""
        return self._of_records.judge(place.hash, after + _serialise(place.seq, record))

    def sign(self, kind: CheckpointKind, place: Place, *, at: str) -> Checkpoint:
        text = _describe(kind.value, at, place)
        return Checkpoint(kind.value, at, place, self._of_checkpoints.make(text))

    def judge_checkpoint(self, checkpoint: Checkpoint) -> Judgement:
        text = _describe(checkpoint.kind, checkpoint.at, checkpoint.place)
        return self._of_checkpoints.judge(checkpoint.signature, text)


class _Keys:
    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {hashlib.blake2b(key, digest_size=_KEY_ID_BYTES).digest(): key for key in keys}
        first = hashlib.blake2b(keys[0], digest_size=_KEY_ID_BYTES).digest()
        self._head, self._key = bytes((VERSION,)) + first, keys[0]

    def make(self, text: bytes) -> bytes:
        return self._head + hmac.digest(self._key, text, "sha256")

    def judge(self, value: bytes, text: bytes) -> Judgement:
        if len(value) != HASH_BYTES:
            return "bad"
        if value[0] != VERSION:
            return "unknown-version"
        key = self._keys.get(value[1 : 1 + _KEY_ID_BYTES])
        if key is None:
            return "unknown-key"
        mac = hmac.digest(key, text, "sha256")
        return "good" if hmac.compare_digest(mac, value[1 + _KEY_ID_BYTES :]) else "bad"


def _serialise(seq: int, record: Record) -> bytes:
    """A JSON array without white space: where a value ends can be read in one way only."""
    return _encode([VERSION, seq, *record]).encode()


def _describe(kind: str, at: str, place: Place) -> bytes:
    return _encode([VERSION, kind, at, place.seq, place.hash.hex()]).encode()
