"""JSON Lines, the input of import commands: one JSON document per line."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class BadLineError(ValueError):
    """An invalid line; the message names the line and the field."""


def read_lines(model: type[Model], lines: Iterable[bytes]) -> Iterator[Model]:
    """Parse the lines one by one; BadLineError at the first invalid one."""
    for number, line in enumerate(lines, start=1):
        try:
            yield model.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            field = ".".join(map(str, first["loc"])) or "line"
            raise BadLineError(f"line {number}: field {field}: {first['msg']}") from None
