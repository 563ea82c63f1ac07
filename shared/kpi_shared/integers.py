"""Integers of requests: each number has one spelling, the canonical decimal.

pydantic reads ``02``, ``+2``, ``2.0``, ``0_2`` and `` 2`` as 2. A cache or a rule that compares texts then takes one
resource for several.
"""

import re
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

_CANONICAL = re.compile("0|-?[1-9][0-9]*")
# No column and no parameter takes more digits, and Python takes quadratic time to read very many.
_MAX_DIGITS = 19


def read_decimal(value: object) -> object:
    """Texts come from paths and queries. An integer is a default."""
    if not isinstance(value, str):
        return require_integer(value)
    if not _CANONICAL.fullmatch(value):
        raise PydanticCustomError("int_parsing", "Input should be an integer in its usual decimal spelling, such as 10")
    if len(value.lstrip("-")) > _MAX_DIGITS:
        raise PydanticCustomError("int_parsing_size", "Input should be an integer of at most 19 digits")
    return int(value)


def require_integer(value: object) -> object:
    """Refuse floats, texts and booleans: in Python, True and 1.0 equal the integer 1."""
    if type(value) is not int:
        raise PydanticCustomError("int_type", "Input should be an integer, written without quotes, point or exponent")
    return value


# In a path or a query.
Decimal = Annotated[int, BeforeValidator(read_decimal)]
# In a JSON body.
Integer = Annotated[int, BeforeValidator(require_integer)]
