"""What another command asks the running stack for, by a file: to start parts again whose code has changed."""

import json
from collections.abc import Iterable

from kpi_cli.layout import Layout


def ask(layout: Layout, names: Iterable[str]) -> None:
    """Ask for these parts, after those that are asked for already; the stack looks twice a second."""
    draft = layout.restarts.with_suffix(".draft")
    draft.write_text(json.dumps([*dict.fromkeys([*read(layout), *names])]) + "\n")
    draft.replace(layout.restarts)


def read(layout: Layout) -> list[str]:
    """The names of the parts that are asked for."""
    try:
        return [str(name) for name in json.loads(layout.restarts.read_text())]
    except (OSError, ValueError, TypeError):
        return []


def clear(layout: Layout) -> None:
    layout.restarts.unlink(missing_ok=True)
