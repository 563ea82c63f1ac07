"""Times in requests: each has the format of RFC 3339, with a time zone."""

from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError


def _require_text(value: object) -> object:
    # Pydantic would accept a number as seconds since 1970, which the API does not.
    if not isinstance(value, str) or value.replace(".", "", 1).lstrip("+-").isdecimal():
        raise PydanticCustomError("timestamp", "A time in the format of RFC 3339 is required")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_require_text)]
