"""The code of numbers."""

from decimal import Decimal
from typing import Any

from kpi_cli.generate.fields.checks import allowed_range
from kpi_cli.generate.fields.code import Filter
from kpi_cli.generate.fields.kind_code import ANNOTATED, CHECKS, KindCode
from kpi_cli.generate.fields.printing import Raw, print_call, to_json_value
from kpi_cli.generate.specs import FieldSpec, Kind

_NUMBERS = "from kpi_shared.fields.numbers import"
_FIELD = "from pydantic import Field"
_INTEGERS = {Kind.INTEGER: ("Integer", "32"), Kind.BIGINT: ("BigInteger", "64")}
_FIXED = {Kind.DECIMAL: ("DecimalNumber", 18, 6), Kind.MONEY: ("Money", 12, 2), Kind.PERCENT: ("Percent", 5, 2)}
# Where the range is at least this wide, examples need not fit into it exactly.
_WIDE = 10_000
_FEW = 100
_MAX_ID = 2**63 - 1


def bounds_of(spec: FieldSpec) -> dict[str, Decimal | None]:
    return {"ge": spec.ge, "gt": spec.gt, "le": spec.le, "lt": spec.lt}


def _printed_bounds(spec: FieldSpec) -> dict[str, Any]:
    """Whole numbers as such, others as Decimal("0.5"), and floats as they are."""
    return {name: None if value is None else _plain(spec, value) for name, value in bounds_of(spec).items()}


def _plain(spec: FieldSpec, value: Decimal) -> int | float | Decimal:
    if value == value.to_integral_value():
        return int(value)
    return float(value) if spec.kind is Kind.FLOAT else value


def _has_bounds(spec: FieldSpec) -> bool:
    return any(value is not None for value in bounds_of(spec).values())


def code_integer(spec: FieldSpec) -> KindCode:
    sql_type, bits = _INTEGERS[spec.kind]
    least, most = (1, _MAX_ID) if spec.foreign else map(int, allowed_range(spec))
    name = "Reference" if spec.foreign else f"Int{bits}"
    imports = {f"{_NUMBERS} {name}"}
    sent, filter_type = name, f"{name}Text"
    if _has_bounds(spec):
        bounds = _printed_bounds(spec)
        if spec.ge is None and spec.gt is None:
            bounds["ge"] = Raw(f"MIN_INT{bits}")
            imports |= {f"{_NUMBERS} MIN_INT{bits}"}
        if spec.le is None and spec.lt is None:
            bounds["le"] = Raw(f"MAX_INT{bits}")
            imports |= {f"{_NUMBERS} MAX_INT{bits}"}
        sent = f"Annotated[int, {print_call('Field', **bounds)}, WHOLE]"
        imports |= {ANNOTATED, _FIELD, f"{_NUMBERS} WHOLE"}
        imports -= {f"{_NUMBERS} {name}"}
    first = _first_of(least, most)
    return KindCode(
        python_type="int",
        sql_type=sql_type,
        checks=(print_call("check_range", spec.name, **_printed_bounds(spec)),) if _has_bounds(spec) else (),
        model_imports=frozenset(
            {f"from sqlalchemy import {sql_type}"} | ({f"{CHECKS} check_range"} if _has_bounds(spec) else set())
        ),
        sent_type=sent,
        shown_type="int",
        schema_imports=frozenset(imports | {f"{_NUMBERS} {filter_type}"}),
        # The first row that a reader of the examples makes has the id 1.
        examples=(1, 1) if spec.foreign else (min(first + 12, most), min(first + 7, most) if most > first else first),
        sample=_sample_integer(first, most),
        accepted=() if spec.foreign else tuple(dict.fromkeys((least, most))),
        refused=(least - 1, most + 1, str(first), first + 0.5, True, [first]),
        sort_type="int",
        filter=Filter.EXACT if spec.foreign else Filter.RANGE,
        filter_type=filter_type,
    )


def _first_of(least: int, most: int) -> int:
    """Where values for tests begin: at zero, if there are enough from there on."""
    if least >= 0:
        return least
    return 0 if most >= _FEW else max(least, most - _WIDE + 1)


def _sample_integer(first: int, most: int) -> str:
    if most - first >= _WIDE:
        return f"{first} + number" if first else "number"
    count = most - first + 1
    return f"{first} + number % {count}" if first else f"number % {count}"


def code_float(spec: FieldSpec) -> KindCode:
    least, most = _float_range(spec)
    bounds = _printed_bounds(spec)
    checks = [print_call("check_finite", spec.name)]
    imports = {f"{_NUMBERS} Finite", f"{_NUMBERS} FiniteText"}
    sent = "Finite"
    if _has_bounds(spec):
        checks.append(print_call("check_range", spec.name, **bounds))
        sent = f"Annotated[float, {print_call('Field', strict=True, allow_inf_nan=False, **bounds)}]"
        imports = {ANNOTATED, _FIELD, f"{_NUMBERS} FiniteText"}
    first, step, count = _float_steps(least, most)
    lower = () if spec.ge is None else (float(spec.ge),)
    upper = () if spec.le is None else (float(spec.le),)
    below = [spec.ge - 1 if spec.ge is not None else spec.gt, spec.le + 1 if spec.le is not None else spec.lt]
    return KindCode(
        python_type="float",
        sql_type="Double",
        checks=tuple(checks),
        model_imports=frozenset(
            {"from sqlalchemy import Double", f"{CHECKS} check_finite"}
            | ({f"{CHECKS} check_range"} if _has_bounds(spec) else set())
        ),
        sent_type=sent,
        shown_type="float",
        schema_imports=frozenset(imports),
        examples=(first, first + step),
        sample=f"{first} + number % {count} * {step}",
        accepted=tuple(dict.fromkeys((*lower, *upper, first))),
        refused=(*(float(bound) for bound in below if bound is not None), "1.5", True, [1.5]),
        sort_type="float",
        filter=Filter.RANGE,
        filter_type="FiniteText",
    )


def _float_steps(least: float, most: float) -> tuple[float, float, int]:
    """The first, the step and the number of values between the bounds."""
    start = least if least >= 0 or most < _FEW else 0.0
    step = 0.5 if most - start > 2 else (most - start) / 128  # noqa: PLR2004 some steps of 0.5
    return start + step, step, max(int((most - start) / step) - 1, 1) if step else 1


def _float_range(spec: FieldSpec) -> tuple[float, float]:
    least = spec.ge if spec.ge is not None else spec.gt
    most = spec.le if spec.le is not None else spec.lt
    low = float(least) if least is not None else (min(0.0, float(most) - _WIDE) if most is not None else 0.0)
    return low, float(most) if most is not None else low + 2 * _WIDE


def code_fixed(spec: FieldSpec) -> KindCode:
    type_name, digits, places = _FIXED[spec.kind]
    bounds = _printed_bounds(spec)
    own = _add_own_bounds(spec, bounds)
    sent, imports = type_name, {f"{_NUMBERS} {type_name}"}
    if _has_bounds(spec):
        sent = f"Annotated[Decimal, {print_call('Fixed', digits=digits, places=places, **own)}]"
        imports = {ANNOTATED, "from decimal import Decimal", f"{_NUMBERS} Fixed", f"{_NUMBERS} {type_name}"}
    is_checked = any(value is not None for value in own.values())
    least, most = allowed_range(spec)
    return KindCode(
        python_type="Decimal",
        sql_type=f"Numeric({digits}, {places})",
        checks=(print_call("check_range", spec.name, **own),) if is_checked else (),
        model_imports=frozenset(
            {"from decimal import Decimal", "from sqlalchemy import Numeric"}
            | ({f"{CHECKS} check_range"} if is_checked else set())
        ),
        sent_type=sent,
        shown_type=type_name,
        schema_imports=frozenset(imports),
        **_fixed_values(least, most, places),
        sort_type="Decimal",
        filter=Filter.RANGE,
        filter_type=type_name,
    )


def _add_own_bounds(spec: FieldSpec, bounds: dict[str, Any]) -> dict[str, Any]:
    """Those of the kind where the rules have none: a percentage is between 0 and 100."""
    own = dict(bounds)
    if spec.kind is Kind.PERCENT:
        if spec.ge is None and spec.gt is None:
            own["ge"] = 0
        if spec.le is None and spec.lt is None:
            own["le"] = 100
    return own


def _fixed_values(least: Decimal, most: Decimal, places: int) -> dict[str, Any]:
    """What is sent and shown, and what is refused, of numbers from ``least`` to ``most``."""
    unit = Decimal(1).scaleb(-places)
    # From the value that is next to zero on, away from it.
    first, last = (max(least, Decimal(0)), most) if most >= unit else (most, least)
    count = min(int(abs(last - first) / unit) + 1, _WIDE)
    away = unit if last >= first else -unit
    middle, other = ((first + away * (count * part // 8)).quantize(unit) for part in (4, 2))
    whole = first.to_integral_value(rounding="ROUND_CEILING")
    same = ((int(whole), to_json_value(whole.quantize(unit))),) if least <= whole <= most else ()
    refused: list[Any] = [to_json_value((least - unit).quantize(unit)), to_json_value((most + unit).quantize(unit))]
    refused += [f"{to_json_value(middle)}1", "1e1", "", "NaN", "Infinity", "+1", " 1", True, [1]]
    return {
        "examples": (to_json_value(middle), to_json_value(other)),
        "sample": _sample_fixed(first, last, places),
        "accepted": tuple(dict.fromkeys(to_json_value(value.quantize(unit)) for value in (least, most, middle))),
        "refused": tuple(refused),
        "shown_as": same,
    }


def _sample_fixed(first: Decimal, last: Decimal, places: int) -> str:
    """In units of the last place, so that no rounding can leave the range."""
    sign = "-" if last < first else ""
    width = abs(last - first)
    if width >= _FEW and first == first.to_integral_value():
        start = f"{int(abs(first))} + " if first else ""
        return f'f"{sign}{{{start}number % 100}}.{{number // 100 % 99 + 1:02}}{"0" * (places - 2)}"'
    units, scale = int(abs(first).scaleb(places)), 10**places
    count = min(int(width * scale) + 1, _WIDE)
    value = f"({units} + number % {count})" if units else f"number % {count}"
    return f'f"{sign}{{{value} // {scale}}}.{{{value} % {scale}:0{places}}}"'
