"""The types of fields alone: what each refuses beyond the edges that the generator's tests try."""

from decimal import Decimal
from typing import Annotated, Any

import pytest
from kpi_shared.fields.documents import MAX_BYTES, JsonDocument
from kpi_shared.fields.emails import Email
from kpi_shared.fields.moments import CalendarDate, TimeOfDay, UtcTime
from kpi_shared.fields.networks import IpAddress
from kpi_shared.fields.numbers import Finite, FiniteText, Fixed, Int64, Int64Text, Money
from kpi_shared.fields.texts import HttpAddress, Slug, UuidText
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json

Weight = Annotated[Decimal, Fixed(digits=18, places=6)]


@pytest.mark.parametrize(
    ("kind", "sent", "shown"),
    [
        (Money, "12.5", '"12.50"'),
        (Money, 12.55, '"12.55"'),
        (Money, "-0", '"0.00"'),
        (Money, 9999999999.99, '"9999999999.99"'),
        (Weight, 0.1, '"0.100000"'),
        (Weight, 999999999, '"999999999.000000"'),
        (Weight, "999999999999.999999", '"999999999999.999999"'),
        (UtcTime, "2026-03-31T23:30:00.5-01:00", '"2026-04-01T00:30:00.500000Z"'),
        (TimeOfDay, "08:30", '"08:30:00"'),
        (Email, "\uff21da@Example.COM", '"ada@example.com"'),
        (HttpAddress, "https://b\u00fccher.example/a b", '"https://xn--bcher-kva.example/a%20b"'),
        (IpAddress, "2001:DB8:0:0::1", '"2001:db8::1"'),
        (Int64Text, "9223372036854775807", "9223372036854775807"),
        (FiniteText, "1.5", "1.5"),
        (FiniteText, "-25e-1", "-2.5"),
    ],
)
def test_each_value_has_one_form(kind: Any, sent: Any, shown: str) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    assert to_json(adapter.validate_json(to_json(sent))).decode() == shown


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Money, "1e-3"),
        (Money, '"1e1"'),
        (Money, '" 1"'),
        (Money, '"01"'),
        (Money, '"1."'),
        (Money, '"1.000"'),
        (Money, '"\u0661"'),
        (Money, "true"),
        (Money, "null"),
        (Money, "1e400"),
        (Money, f'"{"9" * 5000}"'),
        # As a double this is 123456789012.34568.
        (Weight, "123456789012.345678"),
        (Finite, "NaN"),
        (Finite, "Infinity"),
        (Finite, "1" + "0" * 400),
        (Finite, '"1"'),
        (Int64, "1.0"),
        (Int64, "true"),
        (Int64Text, '"01"'),
        (UtcTime, '"9999-12-31T23:59:59-01:00"'),
        (UtcTime, "1700000000"),
        (CalendarDate, '"2026-03-31T00:00:00Z"'),
        (CalendarDate, "19000"),
        (TimeOfDay, '"08:30:00+01:00"'),
        (Slug, '"a--b"'),
        (Slug, '"a\\n"'),
        (UuidText, '"urn:uuid:6f0b5f0a-6c8e-4d3f-9d55-3b1c1f1f7c01"'),
        (HttpAddress, f'"https://example.com/{"é" * 1000}"'),
        (HttpAddress, '"https://"'),
        (IpAddress, "3221225985"),
        (IpAddress, '"::1%lo"'),
        (IpAddress, '"01.2.3.4"'),
        *((FiniteText, f'"{text}"') for text in ("1_0", " 1", "1 ", "+1", "01", "1.", ".5", "\u0661", "nan", "1e999")),
        (JsonDocument, "null"),
        (JsonDocument, f'"{"a" * MAX_BYTES}"'),
        (JsonDocument, "[1e300" + ",1e300" * 60 + "]"),
        (JsonDocument, '"\\ud800"'),
    ],
)
def test_what_is_not_exactly_the_type_is_refused(kind: Any, body: str) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    with pytest.raises(ValidationError):
        adapter.validate_json(body)


@pytest.mark.parametrize("sent", ["01.2.3.4", "::1%lo", 3221225985, "x" * 100_000])
def test_what_is_no_address_is_one_error_of_the_field(sent: Any) -> None:
    class Sent(BaseModel):
        addr: IpAddress

    with pytest.raises(ValidationError) as raised:
        Sent.model_validate({"addr": sent})
    assert [error["loc"] for error in raised.value.errors()] == [("addr",)]


def test_a_sign_is_part_of_the_pattern_only_where_it_may_be() -> None:
    assert Fixed(digits=5, places=2).pattern == "^-?(0|[1-9][0-9]{0,2})([.][0-9]{1,2})?$"
    assert Fixed(digits=5, places=2, ge=0).pattern == "^(0|[1-9][0-9]{0,2})([.][0-9]{1,2})?$"


@pytest.mark.parametrize(
    ("sent", "kind"), [('"-1"', "greater_than_equal"), ("-1", "greater_than_equal"), ('"-1e1"', "decimal")]
)
def test_a_negative_number_is_refused_by_the_bound(sent: str, kind: str) -> None:
    price: TypeAdapter[Any] = TypeAdapter(Annotated[Decimal, Fixed(digits=12, places=2, ge=0)])
    with pytest.raises(ValidationError) as raised:
        price.validate_json(sent)
    assert [error["type"] for error in raised.value.errors()] == [kind]


def test_minus_zero_is_zero_where_no_negative_number_is_allowed() -> None:
    price: TypeAdapter[Any] = TypeAdapter(Annotated[Decimal, Fixed(digits=12, places=2, ge=0)])
    assert to_json(price.validate_python("-0.00")) == b'"0.00"'
