"""Input of one JSON document a line, as import commands read it."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class BadLineError(ValueError):
    """A line does not hold what it should; the message names the line and the field."""


def read_lines(model: type[Model], lines: Iterable[bytes]) -> Iterator[Model]:
    """Each line as the model, in turn; BadLineError at the first that is none."""
    for number, line in enumerate(lines, start=1):
        try:
            yield model.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            field = ".".join(map(str, first["loc"])) or "line"
            raise BadLineError(f"line {number}: field {field}: {first['msg']}") from None
