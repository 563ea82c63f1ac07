"""The members of an enum from its values, for a field and for an enum alone."""

import re
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from kpi_cli.generate.fields.printing import print_value

_VALUE = re.compile("[A-Za-z0-9]+([_-][A-Za-z0-9]+)*")
_MAX_VALUE = 50
_MAX_VALUES = 100


def name_members(column: str, values: Iterable[str]) -> dict[str, str]:
    """The values by the names of their members; ValueError with a sentence for what cannot be one.

    A name cannot begin with a digit, so ``2xl`` of ``size`` is SIZE_2XL.
    """
    members = [(_name_member(column, value), value) for value in values]
    if len(members) > _MAX_VALUES:
        raise ValueError(f"an enum has at most {_MAX_VALUES} values")
    twice = next((name for name, count in Counter(name for name, _ in members).items() if count > 1), None)
    if twice is not None:
        first, second, *_ = (value for name, value in members if name == twice)
        raise ValueError(f"the values {first} and {second} would both have the name {twice}")
    return dict(members)


def _name_member(column: str, value: str) -> str:
    if len(value) > _MAX_VALUE or not _VALUE.fullmatch(value):
        raise ValueError(
            f"the values of an enum are words of at most {_MAX_VALUE} ASCII letters and digits with _ or - between"
        )
    word = value.upper().replace("-", "_")
    return word if word[0].isalpha() else f"{column.upper()}_{word}"


def print_enum(name: str, members: dict[str, str]) -> str:
    """The definition of a StrEnum."""
    lines = [f"    {member} = {print_value(value)}" for member, value in members.items()]
    return "\n".join([f"class {name}({StrEnum.__name__}):", *lines])
