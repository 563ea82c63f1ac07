"""Text that PostgreSQL can store, and text of one line."""

import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, SecretStr
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

# Control characters, line and paragraph separators, and the embeddings, overrides and isolates of the bidirectional
# algorithm, which display a text in another order than it is stored in.
_FORBIDDEN = r"\u0000-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069"
# Spaces, format characters, fillers and variation selectors: a text of these alone displays nothing.
_INVISIBLE = (
    r"\u0020\u00A0\u00AD\u034F\u0600-\u0605\u061C\u06DD\u070F\u0890\u0891\u08E2\u115F\u1160\u1680\u17B4\u17B5"
    r"\u180B-\u180F\u2000-\u200F\u202F\u205F-\u2065\u206A-\u206F\u2800\u3000\u3164\uFE00-\uFE0F\uFEFF\uFFA0"
    r"\uFFF0-\uFFFB"
)
# Part of the API document, where clients find the rule. It covers the Basic Multilingual Plane: regular expressions of
# JavaScript without the u flag have no other characters.
ONE_LINE_PATTERN = f"^[^{_FORBIDDEN}]*[^{_FORBIDDEN}{_INVISIBLE}][^{_FORBIDDEN}]*$"
_has_forbidden = re.compile(f"[{_FORBIDDEN}]").search
_visible_in_plane = re.compile(f"[^{_INVISIBLE}]").finditer


def check_storable(value: str) -> str:
    """Refuse U+0000, which PostgreSQL cannot store, and lone surrogates, which UTF-8 cannot encode."""
    if "\0" in value:
        raise PydanticCustomError("nul_character", "Text must not contain the NUL character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise PydanticCustomError("lone_surrogate", "Text must not contain a lone surrogate") from None
    return value


def _check_secret(value: SecretStr) -> SecretStr:
    check_storable(value.get_secret_value())
    return value


StorableText = Annotated[str, AfterValidator(check_storable)]
# Beside StorableText: clients find the rule in the API document, and its own sentence in the error.
WITHOUT_NUL = Field(json_schema_extra={"pattern": r"^[^\x00]*$"})
StorableSecret = Annotated[SecretStr, AfterValidator(_check_secret)]


def _is_visible(character: str) -> bool:
    """Whether a character outside the patterns displays something: no format character, no variation selector."""
    return unicodedata.category(character) != "Cf" and not "\U000e0000" <= character <= "\U000e0fff"


def _check_line(value: object) -> object:
    if not isinstance(value, str):
        # The schema of text, which comes next, refuses it.
        return value
    value = check_storable(value.strip())
    if _has_forbidden(value):
        reason = "Text must be one line, without control characters and without characters that change its direction"
        raise PydanticCustomError("one_line", reason)
    if not any(_is_visible(match[0]) for match in _visible_in_plane(value)):
        raise PydanticCustomError("invisible", "Text must contain a visible character")
    return value


class OneLine:
    """In ``Annotated[str, ...]``: one line that displays something, without the white space at its ends."""

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        # Before the constraints of length.
        return core_schema.no_info_before_validator_function(_check_line, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"pattern": ONE_LINE_PATTERN}
