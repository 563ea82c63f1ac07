"""Python source of values and calls."""

from datetime import date, datetime, time
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID


class Raw(str):
    """An expression, which is printed as it is."""

    __slots__ = ()


def print_call(name: str, *arguments: object, **keywords: object) -> str:
    """``name(1, max_length=2)``; keywords that are None are left out."""
    parts = [print_value(argument) for argument in arguments]
    parts += [f"{key}={print_value(value)}" for key, value in keywords.items() if value is not None]
    return f"{name}({', '.join(parts)})"


def print_value(value: object) -> str:
    """``repr`` writes every text so that it is one literal, whatever the text contains."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{print_value(key)}: {print_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(print_value, value)) + "]"
    if isinstance(value, str):
        return str(value) if isinstance(value, Raw) else _quote(value)
    if isinstance(value, Decimal | UUID | IPv4Address | IPv6Address):
        return f"{type(value).__name__}({_quote(to_json_value(value))})"
    if isinstance(value, datetime | date | time):
        return repr(value).removeprefix("datetime.").replace("datetime.timezone.utc", "UTC")
    return repr(value)


def _quote(text: str) -> str:
    """The formatter prefers double quotes, and changes none that it would have to escape."""
    literal = repr(str(text))
    return f'"{literal[1:-1]}"' if literal[0] == "'" and '"' not in text and "\\" not in literal else literal


def imports_of(value: object) -> frozenset[str]:
    """The import lines that the source of a value needs."""
    if isinstance(value, datetime):
        return frozenset({"from datetime import UTC, datetime"})
    for kind in (Decimal, UUID, IPv4Address, IPv6Address, date, time):
        if isinstance(value, kind):
            return frozenset({f"from {kind.__module__} import {kind.__name__}"})
    return frozenset()


def to_json_value(value: Any) -> Any:  # noqa: ANN401 any of the kinds
    """How a value is sent and shown."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, UUID | IPv4Address | IPv6Address) else value
