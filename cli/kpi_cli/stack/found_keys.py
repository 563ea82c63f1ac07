"""Finds the keys that this checkout could use, in each place that may hold one. Values stay in memory.

The same files hold the parts' other settings, of which the stack has to know one or two.
"""

import os
import re
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from kpi_cli.errors import KPI
from kpi_cli.layout import Layout
from kpi_cli.parts import PARTS, Part

# The settings that hold a key. The local stack has the keys of tokens in a ring (``kpi_cli.token_keys``).
NAMES = ("PASETO_SECRET_KEY", "AUTH_SECRET_KEY")
_STACK_FILES = ("auth_secret_key",)


class FoundKey(NamedTuple):
    """The place of a key, the key, and how to replace a bad one."""

    place: str
    key: str
    fix: str


def of_stack(layout: Layout) -> list[FoundKey]:
    """The local stack's own keys, as far as there are any."""
    paths = [path for file in _STACK_FILES if (path := layout.secrets / file).exists()]
    fix = "replace it with a new one: rm {} && make up"
    return [FoundKey(layout.shorten(path), _read(path), fix.format(quote(str(path)))) for path in paths]


def of_environment() -> list[FoundKey]:
    """Keys in the variables of the caller's shell, or in files that these name."""
    found = []
    for name in NAMES:
        if os.environ.get(name):
            found.append(FoundKey(name, os.environ[name], f"export {name}=$({KPI} keys new)"))
        if os.environ.get(f"{name}_FILE"):
            path = Path(os.environ[f"{name}_FILE"])
            found.append(FoundKey(f"{name}_FILE", _read(path), f"{KPI} keys new > {quote(str(path))}"))
    return found


def of_settings(layout: Layout) -> list[FoundKey]:
    """Keys in the parts' own settings files."""
    fix = f"put a new {{}} there, the same for all parts that have it: {KPI} keys new"
    return [
        FoundKey(layout.shorten(path), key, fix.format(name))
        for part in PARTS
        for name in NAMES
        for path, key in find_settings(layout, part, name)
    ]


def find_settings(layout: Layout, part: Part, name: str) -> list[tuple[Path, str]]:
    """The setting of that name in the file that the part reads, with the file; none if it is not there or empty."""
    environment = os.environ.get("APP_ENV", "development")
    folder = layout.checkout / part.folder / "config"
    path = next((path for path in (folder / f".env.{environment}", folder / ".env") if path.exists()), None)
    # A value ends with its line: an empty one must not include the next line.
    pattern = rf"^[ \t]*(?:export[ \t]+)?{name}[ \t]*=[ \t]*(.*?)(?:[ \t]+#.*)?[ \t]*\r?$"
    setting = re.search(pattern, _read(path), re.MULTILINE) if path else None
    value = setting.group(1).strip("'\"") if setting else ""
    return [(path, value)] if path and value else []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace").strip()
    except OSError:
        return ""
