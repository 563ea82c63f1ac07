"""JSON of limited size and depth."""

from collections.abc import Iterator
from decimal import Decimal
from math import isfinite
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError, to_json

from kpi_shared.text import check_storable

MAX_BYTES = 16 * 1024
MAX_DEPTH = 8
# Each takes two bytes of JSON at least, as the numbers in [1,2] do.
_MOST_VALUES = MAX_BYTES // 2


def check_document(document: object, *, title: str = "JSON") -> object:
    """Refuse what is too deep, has texts or numbers that PostgreSQL does not store, or is too large.

    Of a large body only so much is read that it is known to be too large, since others wait meanwhile.
    """
    extra = sum(_check_value(value) for value in _walk(document, title))
    if len(to_json(document)) + extra > MAX_BYTES:
        raise _too_large(title)
    return document


def _walk(document: object, title: str) -> Iterator[object]:
    """All keys and values that are no containers, level by level: no recursion, however deep it is."""
    if not isinstance(document, dict | list):
        yield document
        return
    level: list[Any] = [document]
    count = 0
    for _ in range(MAX_DEPTH):
        count += sum(map(len, level))
        if count > _MOST_VALUES:
            raise _too_large(title)
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
        detail = "{title} must not have more than {most} levels"
        raise PydanticCustomError("too_deep", detail, {"title": title, "most": MAX_DEPTH})


def _too_large(title: str) -> PydanticCustomError:
    detail = "{title} must not take more than {most} bytes"
    return PydanticCustomError("too_large", detail, {"title": title, "most": MAX_BYTES})


def _check_value(value: object) -> int:
    """How many more bytes the value takes in PostgreSQL than here: it keeps 1e300 with all its digits."""
    if isinstance(value, str):
        check_storable(value)
    if not isinstance(value, float):
        return 0
    if not isfinite(value):
        raise PydanticCustomError("finite_number", "Numbers must be finite")
    return len(format(Decimal(repr(value)), "f"))


def _require_document(value: object) -> object:
    if value is None:
        raise PydanticCustomError("missing_document", "Input should be any JSON but null")
    return check_document(value)


# Null is the absence of a value: ``JsonDocument | None``. Inside of a value, it is one.
JsonDocument = Annotated[
    Any,
    BeforeValidator(_require_document),
    WithJsonSchema(
        {
            "type": ["object", "array", "string", "number", "boolean"],
            "description": "Any JSON of at most 16 KiB and 8 levels",
        }
    ),
]
