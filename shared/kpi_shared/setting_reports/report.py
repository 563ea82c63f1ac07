"""Every setting of a part: its value without secrets, where it comes from, its default and its type.

Nothing here needs the settings to be valid: a part that cannot start shows what it has, and what is wrong.
"""

import json
import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, PydanticBaseSettingsSource

from kpi_shared.aws import AwsSecretSource
from kpi_shared.setting_reports.example import write_example
from kpi_shared.setting_reports.kinds import Kinds
from kpi_shared.setting_reports.masking import MASK, mask_credentials, mask_secret
from kpi_shared.setting_reports.texts import fill_in, group_fields, variable, write_default
from kpi_shared.settings import PartSettings, SettingsError
from kpi_shared.settings.part_settings import describe_errors
from kpi_shared.settings.sources import FileSource


class Origin(StrEnum):
    """Where a value comes from."""

    AWS = "aws-secret"
    ENVIRONMENT = "environment"
    FILE = "file"
    SETTINGS_FILE = "settings-file"
    DEFAULT = "default"
    UNSET = "not-set"


class Found(NamedTuple):
    """A value as it is written, and its place: a variable, or a file."""

    text: str
    origin: Origin
    place: str


def report(settings: type[PartSettings]) -> dict[str, Any]:
    """What ``python -m kpi_x settings`` prints. It contains no secret."""
    # Rules about several settings name the one to change themselves.
    problems = [mask_credentials(problem).removeprefix("settings: ") for problem in _find_problems(settings)]
    finder, kinds = _Finder(settings), Kinds(settings)
    listed = [
        _describe(settings, kinds, finder, title=title, name=name, field=field, problems=problems)
        for title, fields in group_fields(settings)
        for name, field in fields
    ]
    return {
        "part": settings.part.name,
        "settings_file": finder.settings_file,
        "problems": problems,
        "settings": listed,
        "example": write_example(settings),
    }


def _find_problems(settings: type[PartSettings]) -> list[str]:
    """What prevents a start, each with the name of its setting where it has one; none of them quotes a secret."""
    try:
        settings()
    except ValidationError as error:
        return describe_errors(error)
    except (SettingsError, ValueError) as error:
        return [str(error)]
    return []


def _describe(  # noqa: PLR0913 what is known of one setting
    settings: type[PartSettings],
    kinds: Kinds,
    finder: "_Finder",
    *,
    title: str,
    name: str,
    field: FieldInfo,
    problems: list[str],
) -> dict[str, Any]:
    own = variable(name)
    problem = next((it for it in problems if it.startswith((f"{own}: ", f"{own}_FILE: "))), None)
    default = write_default(field)
    found = finder.find(name, field)
    shown = None if found is None else _show(kinds, name, found.text, is_valid=not problems)
    origin = found.origin if found else Origin.UNSET if field.is_required() else Origin.DEFAULT
    return {
        "name": own,
        "group": title,
        "value": default if found is None and not field.is_required() else shown,
        "origin": origin,
        "place": found.place if found else None,
        "default": None if field.is_required() else default,
        "is_changed": found is not None and found.text != default,
        "type": kinds.describe(name),
        "is_required": field.is_required(),
        "is_secret": kinds.contains_secret(name),
        "description": fill_in(settings, field.description or ""),
        "problem": problem,
    }


def _show(kinds: Kinds, name: str, text: str, *, is_valid: bool) -> str:
    if kinds.is_secret(name):
        return mask_secret(text, is_valid=is_valid)
    # A structure with a secret somewhere in it.
    return MASK if kinds.contains_secret(name) else mask_credentials(text)


class _Finder:
    """Looks a setting up in each source, in order of precedence. A source that cannot be read has none."""

    def __init__(self, settings: type[PartSettings]) -> None:
        path = settings.env_file()
        self.settings_file = str(path) if path else None
        environment, files = EnvSettingsSource(settings), FileSource(settings)
        self._sources = [(Origin.ENVIRONMENT, environment), (Origin.FILE, files)]
        try:
            written = DotEnvSettingsSource(settings, env_file=path)
            self._sources.append((Origin.SETTINGS_FILE, written))
        except (OSError, ValueError):
            pass
        self._secret = _read_secret(settings, [source for _, source in self._sources])
        self._settings = settings

    def find(self, name: str, field: FieldInfo) -> Found | None:
        if name in self._secret:
            value = self._secret[name]
            text = value if isinstance(value, str) else json.dumps(value)
            return Found(text, Origin.AWS, self._settings.secret_in_use or "")
        return next(self._find_local(name, field), None)

    def _find_local(self, name: str, field: FieldInfo) -> Iterator[Found]:
        for origin, source in self._sources:
            try:
                value = source.get_field_value(field, name)[0]
            except SettingsError:
                # Its problem is among the others.
                yield Found("", origin, self._place(origin, name))
                continue
            if value is not None:
                yield Found(str(value), origin, self._place(origin, name))

    def _place(self, origin: Origin, name: str) -> str:
        if origin is Origin.FILE:
            return os.environ[f"{variable(name)}_FILE"]
        return (self.settings_file or "") if origin is Origin.SETTINGS_FILE else variable(name)


def _read_secret(settings: type[BaseSettings], below: list[PydanticBaseSettingsSource]) -> Mapping[str, Any]:
    try:
        return AwsSecretSource(settings, below=below)()
    except (SettingsError, ValueError):
        return {}
