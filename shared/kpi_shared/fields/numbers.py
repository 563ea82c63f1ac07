"""Numbers of request bodies and queries, with the bounds of their columns."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from kpi_shared.integers import read_decimal, require_integer

MAX_INT32 = 2**31 - 1
MIN_INT32 = -(2**31)
MAX_INT64 = 2**63 - 1
MIN_INT64 = -(2**63)

# After the bounds: ``Annotated[int, Field(ge=0, le=MAX_INT32), WHOLE]``. In the other order, pydantic leaves the bounds
# out of the API document.
WHOLE = BeforeValidator(require_integer)
# In a path or a query, where numbers are texts.
WHOLE_TEXT = BeforeValidator(read_decimal)

Int32 = Annotated[int, Field(ge=MIN_INT32, le=MAX_INT32), WHOLE]
Int64 = Annotated[int, Field(ge=MIN_INT64, le=MAX_INT64), WHOLE]
Reference = Annotated[int, Field(ge=1, le=MAX_INT64), WHOLE]
Int32Text = Annotated[int, Field(ge=MIN_INT32, le=MAX_INT32), WHOLE_TEXT]
Int64Text = Annotated[int, Field(ge=MIN_INT64, le=MAX_INT64), WHOLE_TEXT]
ReferenceText = Annotated[int, Field(ge=1, le=MAX_INT64), WHOLE_TEXT]

# A number as JSON spells it. Python also reads 1_0, +1, " 1", 1. and other digits than these.
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?")


def _read_float(value: object) -> object:
    if isinstance(value, str) and not _FLOAT.fullmatch(value):
        raise PydanticCustomError("float_parsing", "Input should be a number in its usual spelling, such as 1.5")
    return value


Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
FiniteText = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_read_float)]

# A double has 15 decimal digits that all come back as they were: more would be changed while the JSON is parsed.
_EXACT = 10**15


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """In ``Annotated[Decimal, ...]``: a number with a fixed number of decimal places, a text in JSON.

    ``digits`` counts all of them, as numeric(12, 2) does. A JSON number is taken too where its parsing loses nothing.
    """

    digits: int
    places: int
    ge: Decimal | int | None = None
    gt: Decimal | int | None = None
    le: Decimal | int | None = None
    lt: Decimal | int | None = None

    @property
    def pattern(self) -> str:
        """Without a sign where no negative number is allowed."""
        is_signed = not any(bound is not None and bound >= 0 for bound in (self.ge, self.gt))
        return self._print_pattern(is_signed=is_signed)

    def _print_pattern(self, *, is_signed: bool) -> str:
        sign = "-?" if is_signed else ""
        return f"^{sign}(0|[1-9][0-9]{{0,{self.digits - self.places - 1}}})([.][0-9]{{1,{self.places}}})?$"

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        bounds: dict[str, Any] = {
            name: None if value is None else Decimal(value) for name, value in self._bounds.items()
        }
        inner = core_schema.decimal_schema(max_digits=self.digits, decimal_places=self.places, **bounds)
        return core_schema.no_info_before_validator_function(self._read, inner)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        text = {"type": "string", "pattern": self.pattern}
        if handler.mode == "serialization":
            return text
        words = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
        bounds = {words[name]: _plain(value) for name, value in self._bounds.items() if value is not None}
        return {"anyOf": [text, {"type": "number", **bounds}]}

    @property
    def _bounds(self) -> dict[str, Any]:
        return {"ge": self.ge, "gt": self.gt, "le": self.le, "lt": self.lt}

    def _read(self, value: object) -> Decimal:
        number = self._parse(value)
        # Quantizing raises an error for too many digits. Adding zero takes the sign away from -0.00.
        if abs(number) >= 10 ** (self.digits - self.places):
            raise self._refuse()
        quantized = number.quantize(Decimal(1).scaleb(-self.places))
        if quantized != number:
            raise self._refuse()
        return quantized + 0

    def _parse(self, value: object) -> Decimal:
        if isinstance(value, Decimal) and value.is_finite():
            return value
        # With a sign in any case, so that a negative number is refused by the bound, which says why.
        if isinstance(value, str) and re.fullmatch(self._print_pattern(is_signed=True), value):
            return Decimal(value)
        if type(value) is int and abs(value) < 10**self.digits:
            return Decimal(value)
        if isinstance(value, float) and abs(value) * 10**self.places < _EXACT:
            return Decimal(repr(value))
        raise self._refuse()

    def _refuse(self) -> PydanticCustomError:
        reason = "Input should be a number of at most {whole} digits and {places} decimal places, best as a text"
        return PydanticCustomError("decimal", reason, {"whole": self.digits - self.places, "places": self.places})


def _plain(value: Decimal | int) -> int | float:
    return int(value) if value == int(value) else float(value)


DecimalNumber = Annotated[Decimal, Fixed(digits=18, places=6)]
Money = Annotated[Decimal, Fixed(digits=12, places=2)]
Percent = Annotated[Decimal, Fixed(digits=5, places=2, ge=0, le=100)]
