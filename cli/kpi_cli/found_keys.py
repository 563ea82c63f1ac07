"""The PASETO keys that this checkout would use, wherever they stand. Values stay in memory."""

import os
import re
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from kpi_cli.errors import KPI
from kpi_cli.layout import Layout
from kpi_cli.parts import SERVICES

NAME = "PASETO_SECRET_KEY"
# A value ends with its line: an empty one must not reach into the next.
_SETTING = re.compile(rf"^[ \t]*(?:export[ \t]+)?{NAME}[ \t]*=[ \t]*(.*?)(?:[ \t]+#.*)?[ \t]*\r?$", re.MULTILINE)


class FoundKey(NamedTuple):
    """Where a key stands, the key, and what to do when it is no good."""

    where: str
    key: str
    fix: str


def of_stack(layout: Layout) -> list[FoundKey]:
    """The local stack's own key, if one was made."""
    path = layout.secrets / "paseto_secret_key"
    return (
        [FoundKey(layout.show(path), _text(path), f"have a new one made: rm {quote(str(path))} && make up")]
        if path.exists()
        else []
    )


def of_environment() -> list[FoundKey]:
    """Keys that the caller's shell holds or names."""
    found = []
    if os.environ.get(NAME):
        found.append(FoundKey(NAME, os.environ[NAME], f"export {NAME}=$({KPI} keys new)"))
    if os.environ.get(f"{NAME}_FILE"):
        path = Path(os.environ[f"{NAME}_FILE"])
        found.append(FoundKey(f"{NAME}_FILE", _text(path), f"{KPI} keys new > {quote(str(path))}"))
    return found


def of_settings(layout: Layout) -> list[FoundKey]:
    """Keys in the parts' own settings files."""
    environment = os.environ.get("APP_ENV", "development")
    found = []
    for part in (*(f"services/{service}" for service in SERVICES), "gateway"):
        folder = layout.checkout / part / "config"
        path = next((path for path in (folder / f".env.{environment}", folder / ".env") if path.exists()), None)
        setting = _SETTING.search(_text(path)) if path else None
        key = setting.group(1).strip("'\"") if setting else ""
        if path and key:
            fix = f"put a new one there, the same for all three parts: {KPI} keys new"
            found.append(FoundKey(layout.show(path), key, fix))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
