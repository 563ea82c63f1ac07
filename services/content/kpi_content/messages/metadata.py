"""The metadata of a message: any JSON object, of limited size and depth."""

from collections.abc import Iterator
from decimal import Decimal
from math import isfinite
from typing import Annotated, Any

from kpi_shared.text import check_storable
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError, to_json

MAX_BYTES = 16 * 1024
MAX_DEPTH = 8
# Each takes two bytes of JSON at least, as the numbers in [1,2] do.
_MOST_VALUES = MAX_BYTES // 2


def _check_metadata(metadata: object) -> object:
    """Refuse what is too deep, has texts or numbers that PostgreSQL does not store, or is too large.

    Of a large body only so much is read that it is known to be too large, since others wait meanwhile.
    """
    if not isinstance(metadata, dict):
        # The schema, which comes next, refuses it.
        return metadata
    extra = sum(_check_value(value) for value in _walk(metadata))
    if len(to_json(metadata)) + extra > MAX_BYTES:
        raise _too_large()
    return metadata


def _walk(metadata: dict[str, Any]) -> Iterator[object]:
    """All keys and values that are no containers, level by level: no recursion, however deep it is."""
    level: list[Any] = [metadata]
    count = 0
    for _ in range(MAX_DEPTH):
        count += sum(map(len, level))
        if count > _MOST_VALUES:
            raise _too_large()
        inner: list[Any] = []
        for container in level:
            if isinstance(container, dict):
                yield from container
                values = list(container.values())
            else:
                values = container
            inner.extend(value for value in values if isinstance(value, dict | list))
            yield from (value for value in values if not isinstance(value, dict | list))
        level = inner
    if level:
        raise PydanticCustomError("too_deep", "Metadata must not have more than {most} levels", {"most": MAX_DEPTH})


def _too_large() -> PydanticCustomError:
    return PydanticCustomError("too_large", "Metadata must not take more than {most} bytes", {"most": MAX_BYTES})


def _check_value(value: object) -> int:
    """How many more bytes the value takes in PostgreSQL than here: it keeps 1e300 with all its digits."""
    if isinstance(value, str):
        check_storable(value)
    if not isinstance(value, float):
        return 0
    if not isfinite(value):
        raise PydanticCustomError("finite_number", "Numbers must be finite")
    return len(format(Decimal(repr(value)), "f"))


Metadata = Annotated[
    dict[str, Any],
    BeforeValidator(_check_metadata),
    Field(description="Any JSON object of at most 16 KiB and 8 levels"),
]
