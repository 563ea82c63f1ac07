"""Rules of a field that contradict each other."""

import math
from decimal import Decimal

from kpi_cli.errors import FailureError
from kpi_cli.generate.fields.kinds import KINDS, MAX_INDEXED_STRING
from kpi_cli.generate.fields.values import read_default
from kpi_cli.generate.specs import FieldSpec, Kind

# With fewer, a table with that field is full after a few rows.
_LEAST_UNIQUE = 20


def check_field(spec: FieldSpec) -> None:
    """FailureError with the first contradiction of a field."""
    reason = _find_contradiction(spec) or _find_empty_bounds(spec) or _find_long_index(spec) or _find_few_values(spec)
    if reason is None and spec.default is not None:
        reason = _find_bad_default(spec)
    if reason:
        raise FailureError(f"field {spec.name}", reason, code=2)


def _find_contradiction(spec: FieldSpec) -> str | None:
    has_default, is_foreign = spec.default is not None, spec.foreign is not None
    is_bounded = any(bound is not None for bound in (spec.ge, spec.gt, spec.le, spec.lt, spec.min, spec.max))
    contradictions = {
        "required and nullable contradict each other": spec.required and spec.nullable,
        "required and default contradict each other: what has a default may be left out": spec.required and has_default,
        "unique and default contradict each other: it would be taken at once": spec.unique and has_default,
        "unique and index say the same: what is unique has an index": spec.unique and spec.index,
        "ge and gt are two lower bounds, of which one is enough": spec.ge is not None and spec.gt is not None,
        "le and lt are two upper bounds, of which one is enough": spec.le is not None and spec.lt is not None,
        "foreign and bounds contradict each other: the other table has the bounds": is_foreign and is_bounded,
        "foreign and default contradict each other: that row may not exist": is_foreign and has_default,
        "foreign and index say the same: what refers to a row has an index": is_foreign and spec.index,
    }
    return next((reason for reason, is_so in contradictions.items() if is_so), None)


def _find_empty_bounds(spec: FieldSpec) -> str | None:
    if spec.kind in {Kind.FILE, Kind.IMAGE} or not KINDS[spec.kind].is_number:
        return _find_empty_lengths(spec)
    least, most = allowed_range(spec)
    return f"no number is within its bounds: the least is {least}, the greatest {most}" if least > most else None


def _find_few_values(spec: FieldSpec) -> str | None:
    places = KINDS[spec.kind].places
    if not spec.unique or not KINDS[spec.kind].is_number or places is None:
        return None
    least, most = allowed_range(spec)
    count = int((most - least).scaleb(places)) + 1
    few = f"unique needs at least {_LEAST_UNIQUE} possible values, and the bounds allow {count}"
    return few if count < _LEAST_UNIQUE else None


def _find_empty_lengths(spec: FieldSpec) -> str | None:
    if spec.max == 0:
        return "max must be at least 1"
    most = spec.max if spec.max is not None else KINDS[spec.kind].default_max
    if spec.min is not None and most is not None and spec.min > most:
        return f"min {spec.min} is greater than max {most}"
    return (
        "min must be at least 1, since an empty line is refused"
        if spec.min == 0 and spec.kind is not Kind.TEXT
        else None
    )


def allowed_range(spec: FieldSpec) -> tuple[Decimal, Decimal]:
    """The least and the greatest number that a field takes."""
    info = KINDS[spec.kind]
    assert info.lowest is not None  # noqa: S101 each kind of number has both
    assert info.highest is not None  # noqa: S101 as above
    least = info.lowest if spec.ge is None else spec.ge
    most = info.highest if spec.le is None else spec.le
    return (
        least if spec.gt is None else max(least, _next_to(spec.gt, info.places, sign=1)),
        most if spec.lt is None else min(most, _next_to(spec.lt, info.places, sign=-1)),
    )


def _next_to(bound: Decimal, places: int | None, *, sign: int) -> Decimal:
    """The number above or below one; of a float, whose steps differ, ``places`` is None."""
    if places is None:
        return Decimal(repr(math.nextafter(float(bound), sign * math.inf)))
    return bound + sign * Decimal(1).scaleb(-places)


def _find_long_index(spec: FieldSpec) -> str | None:
    if spec.kind is Kind.STRING and (spec.unique or spec.index) and (spec.max or 0) > MAX_INDEXED_STRING:
        rule = "unique" if spec.unique else "index"
        return f"{rule} needs a max of at most {MAX_INDEXED_STRING}: an entry of an index takes 2,704 bytes at most"
    return None


def _find_bad_default(spec: FieldSpec) -> str | None:
    try:
        read_default(spec)
    except ValueError as error:
        expected = str(error)
        return f"its default must be {expected}, not {spec.default!r}"
    return None
