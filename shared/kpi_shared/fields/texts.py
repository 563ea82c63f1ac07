"""Texts of a certain form, with the pattern that the column's constraint has too."""

import re
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, HttpUrl, StringConstraints, TypeAdapter, ValidationError
from pydantic import Field as PydanticField
from pydantic_core import PydanticCustomError

MAX_SLUG = 100
MAX_URL = 2_000
SLUG_PATTERN = "^[a-z0-9]+(-[a-z0-9]+)*$"
# E.164: the country's code and the number, up to 15 digits.
PHONE_PATTERN = "^[+][1-9][0-9]{6,14}$"
COLOR_PATTERN = "^#[0-9a-f]{6}$"
URL_PATTERN = "^https?://[!-~]+$"

_http_url = TypeAdapter(HttpUrl)
_is_uuid = re.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}").fullmatch


def _normalize_url(value: str) -> str:
    """In ASCII: a host of another alphabet in Punycode, all else with percent signs."""
    try:
        url = str(_http_url.validate_python(value))
    except ValidationError as error:
        raise PydanticCustomError("url", "{reason}", {"reason": error.errors()[0]["msg"]}) from None
    if len(url) > MAX_URL or not re.match(URL_PATTERN, url):
        raise PydanticCustomError(
            "url", "In ASCII, an address should have at most {most} characters", {"most": MAX_URL}
        )
    return url


def _require_uuid(value: object) -> object:
    """The usual form alone: pydantic also reads braces, a prefix, and bytes."""
    if isinstance(value, UUID) or (isinstance(value, str) and _is_uuid(value)):
        return value
    raise PydanticCustomError("uuid_parsing", "Input should be a UUID with hyphens")


Slug = Annotated[str, StringConstraints(max_length=MAX_SLUG, pattern=SLUG_PATTERN)]
Phone = Annotated[str, StringConstraints(pattern=PHONE_PATTERN)]
Color = Annotated[str, StringConstraints(pattern="^#[0-9A-Fa-f]{6}$"), AfterValidator(str.lower)]
HttpAddress = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_URL),
    AfterValidator(_normalize_url),
    PydanticField(json_schema_extra={"format": "uri"}),
]
UuidText = Annotated[UUID, BeforeValidator(_require_uuid)]
