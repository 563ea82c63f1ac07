"""The code of what is neither a text of its own form nor a number."""

from typing import Any

from kpi_cli.generate.fields.code import Filter
from kpi_cli.generate.fields.enums import name_members, print_enum
from kpi_cli.generate.fields.kind_code import CHECKS, TEXT, KindCode
from kpi_cli.generate.fields.kinds import KINDS
from kpi_cli.generate.fields.printing import Raw, print_call
from kpi_cli.generate.specs import FieldSpec, Kind, Names

_MOMENTS = "from kpi_shared.fields.moments import"
_JSONB = "from sqlalchemy.dialects.postgresql import JSONB"
_KIB = 1024
# Classes of schemas.py have these words after the name of the resource.
_SCHEMA_WORDS = frozenset({"Base", "Create", "Update", "Public", "Page", "Query", "Replace", "NotFoundError"})


_BOOLEAN = KindCode(
    python_type="bool",
    sql_type="Boolean",
    model_imports=frozenset({"from sqlalchemy import Boolean"}),
    sent_type="StrictBool",
    shown_type="bool",
    schema_imports=frozenset({"from pydantic import StrictBool"}),
    examples=(True, False),
    sample="number % 2 == 0",
    accepted=(True, False),
    refused=("true", 1, 0, "", [True]),
    filter=Filter.EXACT,
    filter_type="bool",
)


_DATETIME = KindCode(
    python_type="datetime",
    sql_type="DateTime(timezone=True)",
    model_imports=frozenset({"from datetime import datetime", "from sqlalchemy import DateTime"}),
    sent_type="UtcTime",
    shown_type="datetime",
    schema_imports=frozenset({"from datetime import datetime", f"{_MOMENTS} UtcTime"}),
    examples=("2026-03-31T08:30:00Z", "2026-04-01T18:00:00Z"),
    sample='f"2026-{number // 28 % 12 + 1:02}-{number % 28 + 1:02}T{number // 336 % 24:02}:00:00Z"',
    accepted=("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
    refused=("", "2026-03-31", "2026-03-31T08:30:00", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+01:00", 0, "0"),
    shown_as=(("2026-03-31T10:30:00+02:00", "2026-03-31T08:30:00Z"),),
    sort_type="datetime",
    filter=Filter.RANGE,
    filter_type="UtcTime",
)


_DATE = KindCode(
    python_type="date",
    sql_type="Date",
    model_imports=frozenset({"from datetime import date", "from sqlalchemy import Date"}),
    sent_type="CalendarDate",
    shown_type="date",
    schema_imports=frozenset({"from datetime import date", f"{_MOMENTS} CalendarDate"}),
    examples=("2026-03-31", "2026-04-01"),
    sample='f"{2000 + number // 336 % 1000}-{number // 28 % 12 + 1:02}-{number % 28 + 1:02}"',
    accepted=("0001-01-01", "2024-02-29", "9999-12-31"),
    refused=("", "2026-02-29", "2026-3-1", "31.03.2026", "2026-03-31T00:00:00", "20260331", 0),
    sort_type="date",
    filter=Filter.RANGE,
    filter_type="CalendarDate",
)


_TIME = KindCode(
    python_type="time",
    sql_type="Time",
    model_imports=frozenset({"from datetime import time", "from sqlalchemy import Time"}),
    sent_type="TimeOfDay",
    shown_type="TimeOfDay",
    schema_imports=frozenset({f"{_MOMENTS} TimeOfDay"}),
    examples=("08:30:00", "18:00:00"),
    sample='f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"',
    accepted=("00:00:00", "23:59:59.999999"),
    refused=("", "24:00:00", "8:30", "08:60", "08:30:00Z", "08:30:00+01:00", 30),
    shown_as=(("08:30", "08:30:00"),),
    sort_type="time",
    filter=Filter.RANGE,
    filter_type="TimeOfDay",
)


_UUID = KindCode(
    python_type="UUID",
    # The class of SQLAlchemy has the name of Python's.
    sql_type="Uuid",
    model_imports=frozenset({"from uuid import UUID", "from sqlalchemy import Uuid"}),
    sent_type="UuidText",
    shown_type="UUID",
    schema_imports=frozenset({"from uuid import UUID", "from kpi_shared.fields.texts import UuidText"}),
    examples=("6f0b5f0a-6c8e-4d3f-9d55-3b1c1f1f7c01", "6f0b5f0a-6c8e-4d3f-9d55-3b1c1f1f7c02"),
    sample='f"00000000-0000-4000-8000-{number:012}"',
    accepted=("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    refused=(
        "",
        "6f0b5f0a6c8e4d3f9d553b1c1f1f7c01",
        "{6f0b5f0a-6c8e-4d3f-9d55-3b1c1f1f7c01}",
        "6f0b5f0a-6c8e-4d3f-9d55-3b1c1f1f7c0",
        5,
    ),
    shown_as=(("6F0B5F0A-6C8E-4D3F-9D55-3B1C1F1F7C0F", "6f0b5f0a-6c8e-4d3f-9d55-3b1c1f1f7c0f"),),
    filter=Filter.EXACT,
    filter_type="UuidText",
)


_TOO_DEEP: Any = [[[[[[[[[1]]]]]]]]]
_JSON = KindCode(
    python_type="Any",
    sql_type="JSONB(none_as_null=True)",
    model_imports=frozenset({"from typing import Any", _JSONB}),
    sent_type="JsonDocument",
    shown_type="JsonDocument",
    schema_imports=frozenset({"from kpi_shared.fields.documents import JsonDocument"}),
    examples=({"width": 80, "tags": ["oak"]}, {"width": 120}),
    sample='{"number": number}',
    accepted=({}, [], "", 0, False, [[[[[[[[None]]]]]]]], {"a": {"b": [1.5, None, "é"]}}),
    refused=(_TOO_DEEP, "a\x00b", {"\x00": 1}, "a" * 16_384),
)


def code_ip(spec: FieldSpec) -> KindCode:
    return KindCode(
        python_type="IPv4Address | IPv6Address",
        sql_type="INET",
        checks=(print_call("check_host", spec.name),),
        model_imports=frozenset(
            {
                "from ipaddress import IPv4Address, IPv6Address",
                "from sqlalchemy.dialects.postgresql import INET",
                f"{CHECKS} check_host",
            }
        ),
        sent_type="IpAddress",
        shown_type="IpAddress",
        schema_imports=frozenset({"from kpi_shared.fields.networks import IpAddress"}),
        examples=("192.0.2.1", "2001:db8::1"),
        sample='f"10.{number // 65536 % 256}.{number // 256 % 256}.{number % 256}"',
        accepted=("0.0.0.1", "255.255.255.255", "::1"),
        refused=("", "192.0.2.256", "192.0.2.1/24", "fe80::1%eth0", "example.com", 1, "1"),
        shown_as=(("2001:DB8::0:2", "2001:db8::2"),),
        filter=Filter.EXACT if spec.unique or spec.index else None,
        filter_type="IpAddress",
    )


def enum_class(spec: FieldSpec, names: Names) -> str:
    word = "".join(part.capitalize() for part in spec.name.split("_"))
    return f"{names.class_name}{word}{'Choice' if word in _SCHEMA_WORDS else ''}"


def code_enum(spec: FieldSpec, names: Names) -> KindCode:
    name = enum_class(spec, names)
    members = name_members(spec.name, spec.choices)
    other = spec.choices[1] if len(spec.choices) > 1 else spec.choices[0]
    listed = f"({', '.join(map(repr, spec.choices))},)" if len(spec.choices) == 1 else repr(spec.choices)
    return KindCode(
        python_type="str",
        sql_type="Text",
        checks=(print_call("check_choice", spec.name, Raw(name)),),
        constants=(print_enum(name, members),),
        model_names=(name,),
        model_imports=frozenset({"from enum import StrEnum", TEXT, f"{CHECKS} check_choice"}),
        sent_type=name,
        shown_type=name,
        examples=(spec.choices[0], other),
        sample=f"{listed}[number % {len(spec.choices)}]" if len(spec.choices) > 1 else repr(spec.choices[0]),
        accepted=spec.choices,
        refused=("", f"{spec.choices[0]} ", "no-such-choice", 0, [spec.choices[0]]),
        sort_type="str",
        filter=Filter.EXACT,
        filter_type=name,
    )


def code_file(spec: FieldSpec) -> KindCode:
    limit = f"MAX_{spec.name.upper()}"
    size = spec.max or KINDS[spec.kind].default_max or 0
    return KindCode(
        python_type="dict[str, Any]",
        sql_type="JSONB(none_as_null=True)",
        checks=(print_call("check_file", spec.name),),
        constants=(f"{limit} = {_print_size(size)}",),
        model_names=(limit,),
        model_imports=frozenset({"from typing import Any", _JSONB, "from kpi_shared.files.models import check_file"}),
        sent_type="FilePublic",
        shown_type="FilePublic",
        schema_imports=frozenset({"from kpi_shared.files.schemas import FilePublic"}),
        examples=(None, None),
        sample="None",
    )


def _print_size(size: int) -> str:
    for unit, factors in ((_KIB**2, "1024 * 1024"), (_KIB, "1024")):
        if size % unit == 0:
            return f"{size // unit} * {factors}"
    return f"{size:_}"


SIMPLE = {
    Kind.BOOLEAN: _BOOLEAN,
    Kind.DATETIME: _DATETIME,
    Kind.DATE: _DATE,
    Kind.TIME: _TIME,
    Kind.UUID: _UUID,
    Kind.JSON: _JSON,
}
IS_FILE = frozenset({Kind.FILE, Kind.IMAGE})
