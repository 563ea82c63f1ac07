"""Text of one line, by character."""

import re
import unicodedata
from typing import Annotated

import pytest
from kpi_shared.testing.fields import NOT_ONE_LINE
from kpi_shared.text import ONE_LINE_PATTERN, OneLine
from pydantic import StringConstraints, TypeAdapter, ValidationError

LINE: TypeAdapter[str] = TypeAdapter(
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=100), OneLine()]
)


@pytest.mark.parametrize("value", NOT_ONE_LINE)
def test_what_is_not_one_visible_line_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        LINE.validate_python(value)


@pytest.mark.parametrize(
    "value",
    [
        "a",
        "naïve",
        "日本",
        "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc",
        "👩\u200d💻",
        "a\u00a0b",
        "\U0001f3f4\U000e0067\U000e007f",
    ],
)
def test_text_of_all_languages_is_accepted(value: str) -> None:
    assert LINE.validate_python(f" {value} ") == value
    assert re.search(ONE_LINE_PATTERN, value)


def test_every_space_and_format_character_alone_is_refused() -> None:
    characters = [
        chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in {"Zs", "Zl", "Zp", "Cf", "Cc", "Cs"}
    ]
    accepted = []
    for character in characters:
        try:
            LINE.validate_python(character * 3)
        except ValidationError:
            continue
        accepted.append(hex(ord(character)))
    assert accepted == []


def test_the_document_contains_the_rule() -> None:
    assert LINE.json_schema() == {"type": "string", "maxLength": 100, "pattern": ONE_LINE_PATTERN}
