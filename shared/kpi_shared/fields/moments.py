"""Times, dates and times of day, each in one form."""

import re
from datetime import UTC, date, datetime, time
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from kpi_shared.times import Moment

TIME_PATTERN = "^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6})?)?$"
_is_date = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_is_time = re.compile(TIME_PATTERN).fullmatch


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("timestamp", "In UTC, the year should be between 1 and 9999") from None


def _require_date(value: object) -> object:
    """pydantic would accept a number of seconds since 1970, and a time."""
    if type(value) is date or (isinstance(value, str) and _is_date(value)):
        return value
    raise PydanticCustomError("date", "A date such as 2026-03-31 is required")


def _require_time(value: object) -> object:
    """pydantic would accept a number of seconds, and an offset, which means nothing without a date."""
    if isinstance(value, time) or (isinstance(value, str) and _is_time(value)):
        return value
    raise PydanticCustomError("time", "A time of day such as 08:30 or 08:30:00 is required, without a time zone")


UtcTime = Annotated[Moment, AfterValidator(_to_utc)]
CalendarDate = Annotated[date, BeforeValidator(_require_date)]
TimeOfDay = Annotated[time, BeforeValidator(_require_time), WithJsonSchema({"type": "string", "pattern": TIME_PATTERN})]
