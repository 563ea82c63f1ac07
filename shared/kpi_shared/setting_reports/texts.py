"""Settings as text: as a variable would give them, and as operators read about them."""

import json
from collections.abc import Iterator
from enum import Enum
from typing import Any

from pydantic import BaseModel, SecretStr, TypeAdapter
from pydantic.fields import FieldInfo

from kpi_shared.aws import OVERRIDES
from kpi_shared.settings import PartSettings

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def variable(name: str) -> str:
    """The name of the variable that has the value."""
    return name.upper()


def write(value: object) -> str:
    """A value as its variable would have it; a secret is empty."""
    if value is None or isinstance(value, SecretStr):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple) and not any(isinstance(item, BaseModel) for item in value):
        return ",".join(map(write, value))
    if isinstance(value, (dict, tuple)):
        return json.dumps(_ANY.dump_python(value, mode="json", exclude_defaults=True))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def write_default(field: FieldInfo) -> str:
    return "" if field.is_required() else write(field.get_default(call_default_factory=True, validated_data={}))


def fill_in(settings: type[PartSettings], text: str) -> str:
    """A description or an example with the names of this part."""
    readable = [variable(name) for name in OVERRIDES if name in settings.model_fields]
    mints = getattr(settings, "mints_tokens", False)
    values = {
        "part": settings.part.name,
        "ring_file": "paseto_keys.json" if mints else "paseto_verifier_keys.json",
        "aws_overrides": ", ".join(readable),
    }
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def group_fields(settings: type[PartSettings]) -> Iterator[tuple[str, list[tuple[str, FieldInfo]]]]:
    """The settings by the headings under which operators look for them.

    A ``title`` begins a group, also one that began elsewhere. The first group of all parts is first; their others,
    which few installations change, follow those of the part itself.
    """
    groups: dict[str, list[tuple[str, FieldInfo]]] = {}
    title = ""
    for name, field in settings.model_fields.items():
        title = field.title or title
        groups.setdefault(title, []).append((name, field))
    common = [field.title for field in PartSettings.model_fields.values() if field.title][1:]
    for title in sorted(groups, key=lambda it: it in common):
        yield title, groups[title]
