"""Values as JSON, and what else is stored with some of them. No stored byte is ever run as code."""

import re
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

from pydantic import BaseModel, Field, TypeAdapter
from pydantic_core import from_json, to_json

from kpi_kit.cache.errors import CacheValueError
from kpi_kit.cache.keys import MAX_TAGS

MAX_VALUE = 1024 * 1024
# No JSON begins with it.
_MARK = b"\x01"
_COUNTER = re.compile(rb"-?[0-9]{1,19}")
_LEAST, _MOST = -(2**63), 2**63 - 1
# In place of a value that cannot be read. None is a value.
MISS: Any = object()

T = TypeVar("T")


class Header(BaseModel):
    """Stored with a value that was remembered or has tags.

    ``fresh_until`` is in seconds of the system's clock, after which the value is only good enough until there is a new
    one; ``tags`` has the version that each tag had when the value was made.
    """

    fresh_until: float | None = None
    tags: dict[str, str] = Field(default={}, max_length=MAX_TAGS)


@dataclass(frozen=True)
class Entry:
    header: Header
    body: bytes


def encode(value: object) -> bytes:
    """The value as JSON; CacheValueError if it has none, or more than a mebibyte of it."""
    try:
        body = to_json(value)
    except (ValueError, RecursionError) as error:
        # Their text quotes the value.
        raise CacheValueError(f"the value has no form in JSON ({type(error).__name__})") from None
    if len(body) > MAX_VALUE:
        raise CacheValueError(f"a value has at most {MAX_VALUE:,} bytes of JSON, and this one has {len(body):,}")
    return body


def decode(body: bytes, as_type: "type[T] | None") -> Any:  # noqa: ANN401 any JSON, or what as_type says
    """MISS if it is not JSON, or not of this type: as after an update that has changed the model."""
    try:
        # Typed so, a type is not known to be hashable, as all are.
        return from_json(body) if as_type is None else _adapter(cast("Hashable", as_type)).validate_json(body)
    except ValueError:
        return MISS


@lru_cache(maxsize=1024)
def _adapter(as_type: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("Any", as_type))


def is_plain(stored: bytes) -> bool:
    """Whether there is no header."""
    return not stored.startswith(_MARK)


def join(header: Header, body: bytes) -> bytes:
    return b"%b%b\n%b" % (_MARK, header.model_dump_json(exclude_defaults=True).encode(), body)


def split(stored: bytes) -> Entry | None:
    """None if it is not what ``join`` makes."""
    if is_plain(stored):
        return Entry(_NO_HEADER, stored)
    head, _, body = stored.removeprefix(_MARK).partition(b"\n")
    try:
        return Entry(Header.model_validate_json(head), body)
    except ValueError:
        return None


_NO_HEADER = Header()


def add_to_counter(stored: bytes | None, amount: int) -> int:
    """CacheValueError if what is stored, or the result, is not an integer of 64 bits."""
    if stored is not None and not _COUNTER.fullmatch(stored):
        raise CacheValueError("what is stored is not a counter")
    found = int(stored or 0) + amount
    if not _LEAST <= found <= _MOST:
        raise CacheValueError("a counter has 64 bits")
    return found
