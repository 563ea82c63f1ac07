"""Values on the command line: bounds, and what ``default`` gives, read as the generated API reads them."""

import ipaddress
import json
import math
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from kpi_cli.generate.fields.kinds import KINDS, MAX_EMAIL, MAX_URL
from kpi_cli.generate.specs import FieldSpec, Kind

_NUMBER = re.compile(r"-?(?P<whole>0|[1-9][0-9]*)(\.(?P<fraction>[0-9]+))?")
# Of a float. The other kinds have bounds and places of their own.
_MAX_WHOLE, _MAX_FRACTION = 19, 17
T = TypeVar("T")

_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?")
# The plain addresses only: what is unusual in one is more often a mistake.
_EMAIL = re.compile(r"[a-z0-9_+-]+(\.[a-z0-9_+-]+)*@([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}")
_URL = re.compile(r"https?://([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?(:[0-9]{1,5})?(/[!-~]*)?")
# RFC 5321, 4.5.3.1.1.
_MAX_LOCAL = 64
_MAX_JSON_DEPTH = 8
_MAX_JSON_BYTES = 1024


def read_number(text: str, *, places: int | None) -> Decimal:
    """ValueError for what is not a number of at most so many decimal places; None allows any."""
    match = _NUMBER.fullmatch(text)
    if not match:
        raise ValueError("a number in its usual spelling, such as 12 or 0.5")
    whole, fraction = len(match["whole"]), len(match["fraction"] or "")
    if places is not None and fraction > places:
        raise ValueError(f"a number of at most {places} decimal places" if places else "an integer")
    if places is None and (whole > _MAX_WHOLE or fraction > _MAX_FRACTION):
        raise ValueError(f"a number of at most {_MAX_WHOLE} digits before its point, and {_MAX_FRACTION} after it")
    return Decimal(text)


def read_default(spec: FieldSpec) -> Any:  # noqa: ANN401 the kinds have different types
    """The default as the Python value that is stored. The message of a ValueError says what was expected."""
    text = spec.default
    assert text is not None  # noqa: S101 the caller asks for no other field
    if KINDS[spec.kind].is_number:
        return _read_number_default(spec, text)
    if spec.kind is Kind.ENUM:
        return _require(text in spec.choices, text, f"one of {', '.join(spec.choices)}")
    value = _READERS[spec.kind](text)
    return _check_length(text, spec) if spec.kind in {Kind.STRING, Kind.TEXT, Kind.SLUG} else value


def _require(is_met: bool, text: str, expected: str) -> str:
    if not is_met:
        raise ValueError(expected)
    return text


def _read_number_default(spec: FieldSpec, text: str) -> Any:  # noqa: ANN401
    kind = KINDS[spec.kind]
    number = read_number(text, places=kind.places)
    if not is_within(number, spec):
        raise ValueError("a number within the field's bounds")
    if kind.places == 0:
        return int(number)
    if kind.places is None:
        return float(number)
    return number.quantize(Decimal(1).scaleb(-kind.places))


def is_within(number: Decimal, spec: FieldSpec) -> bool:
    """Whether a number is within the bounds of its field and of its kind."""
    kind = KINDS[spec.kind]
    return (
        (kind.lowest is None or number >= kind.lowest)
        and (kind.highest is None or number <= kind.highest)
        and (spec.ge is None or number >= spec.ge)
        and (spec.gt is None or number > spec.gt)
        and (spec.le is None or number <= spec.le)
        and (spec.lt is None or number < spec.lt)
    )


def length_bounds(spec: FieldSpec) -> tuple[int, int]:
    """The least and the greatest length of a text in characters."""
    least = spec.min if spec.min is not None else 0 if spec.kind is Kind.TEXT else 1
    return least, spec.max if spec.max is not None else KINDS[spec.kind].default_max or 0


def _check_length(text: str, spec: FieldSpec) -> str:
    least, most = length_bounds(spec)
    return _require(least <= len(text) <= most, text, f"a text of {least} to {most} characters")


def _is_plain(text: str, *, allowed: str = "") -> bool:
    """Whether a text has no control, format, surrogate or unassigned character and no separator but the space."""
    return all(
        character in allowed or character == " " or unicodedata.category(character)[0] not in "CZ" for character in text
    )


def _read_string(text: str) -> str:
    is_line = _is_plain(text) and text == text.strip() and any(unicodedata.category(c)[0] in "LNPS" for c in text)
    return _require(is_line, text, "one line of text without control characters")


def _read_text(text: str) -> str:
    return _require(_is_plain(text, allowed="\n\t"), text, "text without control characters")


def _read_boolean(text: str) -> bool:
    return _require(text in {"true", "false"}, text, "true or false") == "true"


def _read_datetime(text: str) -> datetime:
    expected = "a time in the form of RFC 3339, such as 2026-03-31T08:30:00Z"
    _require(_DATE.match(text) is not None and text[10:11] == "T", text, expected)
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC) if _has_offset(text) else None
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise ValueError(expected)
    return moment


def _has_offset(text: str) -> bool:
    return re.search("(Z|[+-][0-9]{2}:[0-9]{2})$", text) is not None


def _read_date(text: str) -> date:
    expected = "a date that exists, such as 2026-03-31"
    return _convert(date.fromisoformat, _require(_DATE.fullmatch(text) is not None, text, expected), expected)


def _convert(convert: Callable[[str], T], text: str, expected: str) -> T:
    """What the standard library reads, with a sentence of our own for what it refuses."""
    try:
        return convert(text)
    except ValueError:
        raise ValueError(expected) from None


def _read_time(text: str) -> time:
    expected = "a time from 00:00 to 23:59:59, such as 08:30:00"
    return _convert(time.fromisoformat, _require(_TIME.fullmatch(text) is not None, text, expected), expected)


def _read_email(text: str) -> str:
    local, _, _ = text.partition("@")
    is_email = _EMAIL.fullmatch(text) is not None and len(local) <= _MAX_LOCAL and len(text) <= MAX_EMAIL
    return _require(is_email, text, "an e-mail address in lower case")


def _read_url(text: str) -> str:
    expected = "an address such as https://example.com/page"
    is_url = _URL.fullmatch(text) is not None and len(text) < MAX_URL and not set(text) & set('"<>\\^`{|}')
    parts = urlsplit(_require(is_url, text, expected))
    # A port that is too great is refused when it is read.
    _convert(lambda _: parts.port, text, expected)
    return text if parts.path else f"{text}/"


def _read_uuid(text: str) -> UUID:
    return UUID(_require(_UUID.fullmatch(text) is not None, text, "a UUID in lower case with hyphens"))


def _read_json(text: str) -> Any:  # noqa: ANN401
    expected = f"JSON of at most {_MAX_JSON_BYTES} bytes and {_MAX_JSON_DEPTH} levels, and not null"
    try:
        value = json.loads(_require(len(text.encode()) <= _MAX_JSON_BYTES, text, expected))
    except (ValueError, RecursionError):
        raise ValueError(expected) from None
    _require(value is not None and _is_bounded(value, _MAX_JSON_DEPTH), text, expected)
    return value


def _is_bounded(value: object, depth: int) -> bool:
    if isinstance(value, dict | list):
        values = [*value, *value.values()] if isinstance(value, dict) else value
        return depth > 0 and all(_is_bounded(inner, depth - 1) for inner in values)
    if isinstance(value, str):
        return _is_plain(value, allowed="\n\t")
    return not isinstance(value, float) or math.isfinite(value)


def _read_ip(text: str) -> Any:  # noqa: ANN401
    expected = "an address such as 192.0.2.1 or 2001:db8::1"
    return _convert(ipaddress.ip_address, _require("%" not in text and "/" not in text, text, expected), expected)


def _read_pattern(text: str, *, pattern: str, expected: str) -> str:
    return _require(re.fullmatch(pattern, text) is not None, text, expected)


_SLUGS = "lower-case words with hyphens between, such as red-chair"
_PHONES = "a number in the form of E.164, such as +4930123456"
_COLORS = "a color such as #ff8000"
_READERS: dict[Kind, Callable[[str], Any]] = {
    Kind.STRING: _read_string,
    Kind.TEXT: _read_text,
    Kind.BOOLEAN: _read_boolean,
    Kind.DATETIME: _read_datetime,
    Kind.DATE: _read_date,
    Kind.TIME: _read_time,
    Kind.EMAIL: _read_email,
    Kind.URL: _read_url,
    Kind.UUID: _read_uuid,
    Kind.JSON: _read_json,
    Kind.IP: _read_ip,
    Kind.SLUG: partial(_read_pattern, pattern="[a-z0-9]+(-[a-z0-9]+)*", expected=_SLUGS),
    Kind.PHONE: partial(_read_pattern, pattern="[+][1-9][0-9]{6,14}", expected=_PHONES),
    Kind.COLOR: partial(_read_pattern, pattern="#[0-9a-f]{6}", expected=_COLORS),
}
