"""The PASETO keys that this checkout would use, wherever they stand. Values stay in memory."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from kpi_cli.layout import Layout
from kpi_cli.parts import SERVICES

NAME = "PASETO_SECRET_KEY"
_SETTING = re.compile(rf"^\s*(?:export\s+)?{NAME}\s*=\s*(.*?)\s*$", re.MULTILINE)


class FoundKey(NamedTuple):
    """Where a key stands, the key, and what to do when it is no good."""

    where: str
    key: str
    fix: str


def search(layout: Layout) -> list[FoundKey]:
    """Keys of the local stack, of the environment, and of the services' own settings files."""
    return [*_of_stack(layout), *_of_environment(), *_of_settings(layout)]


def _of_stack(layout: Layout) -> list[FoundKey]:
    path = layout.secrets / "paseto_secret_key"
    return [FoundKey(layout.show(path), _text(path), f"rm {path}; make up makes a new one")] if path.exists() else []


def _of_environment() -> list[FoundKey]:
    found = []
    if NAME in os.environ:
        found.append(FoundKey(NAME, os.environ[NAME], f"export {NAME}=$(kpi keys new)"))
    if f"{NAME}_FILE" in os.environ:
        path = Path(os.environ[f"{NAME}_FILE"])
        found.append(FoundKey(f"{NAME}_FILE", _text(path), f"kpi keys new > {path}"))
    return found


def _of_settings(layout: Layout) -> list[FoundKey]:
    environment = os.environ.get("APP_ENV", "development")
    found = []
    for service in SERVICES:
        folder = layout.checkout / "services" / service / "config"
        path = next((path for path in (folder / f".env.{environment}", folder / ".env") if path.exists()), None)
        setting = _SETTING.search(_text(path)) if path else None
        if path and setting:
            key = setting.group(1).strip("'\"")
            found.append(FoundKey(layout.show(path), key, f"put the output of kpi keys new into {path}"))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
