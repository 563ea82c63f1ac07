"""Reading the bodies of OAuth2 requests, which are forms; JSON with the same members is accepted too."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlmodel import SQLModel

JSON = "application/json"
_MAX_PARAMETERS = 20

Body = TypeVar("Body", bound=SQLModel)


async def read_parameters(request: Request) -> list[tuple[str, str]]:
    """A form's parameters. RFC 6749, section 3.2: one without a value is treated as omitted."""
    async with request.form(max_fields=_MAX_PARAMETERS) as form:
        return [(name, value) for name, value in form.multi_items() if isinstance(value, str) and value]


def find_repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


async def read_body(request: Request) -> Any:  # noqa: ANN401 any JSON value
    """A form as a dict, or whatever the JSON is; RequestValidationError otherwise. The route accepts these two only."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == JSON:
        return await _read_json(request)
    return _check_unique(await read_parameters(request))


def validate(schema: type[Body], body: object) -> Body:
    """The body as its schema, or RequestValidationError."""
    try:
        return schema.model_validate(body)
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in errors]) from None


def _check_unique(parameters: list[tuple[str, str]]) -> dict[str, str]:
    """RFC 6749, section 3.2: no parameter may be given more than once."""
    repeated = find_repeated(name for name, _ in parameters)
    if repeated:
        message = "The parameter is given more than once"
        raise RequestValidationError([{"type": "repeated", "loc": ("body", name), "msg": message} for name in repeated])
    return dict(parameters)


async def _read_json(request: Request) -> Any:  # noqa: ANN401 as above
    try:
        return await request.json()
    except (ValueError, RecursionError):
        error = {"type": "json_invalid", "loc": ("body",), "msg": "The body is not valid JSON"}
        raise RequestValidationError([error]) from None
