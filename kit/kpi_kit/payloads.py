"""Models that are stored as JSON, and come back as they were."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


def write_json(model: BaseModel) -> str | None:
    """The fields by their names; None for half a surrogate pair, or a value that JSON cannot have."""
    try:
        return model.model_dump_json(by_alias=False, round_trip=True)
    except ValueError:
        return None


def find_lost(model: BaseModel, text: str) -> list[str]:
    """The fields that cannot be read again, or come back with another value, such as the asterisks of a secret."""
    try:
        read = read_json(type(model), text).model_dump(round_trip=True)
    except ValidationError as error:
        return sorted({str(each["loc"][0]) if each["loc"] else "fields" for each in error.errors(include_input=False)})
    given = model.model_dump(round_trip=True)
    return [name for name, value in given.items() if value != read.get(name)]


def read_json(model_type: type[M], text: str | bytes) -> M:
    """The model that was stored as ``text``, by the names of its fields; ValidationError if it does not fit."""
    return model_type.model_validate_json(text, by_alias=True, by_name=True)
