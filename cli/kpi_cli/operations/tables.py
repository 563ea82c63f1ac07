"""Rows for people: a table at a terminal, and otherwise lines with tabs."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_rows(columns: Sequence[str], items: Iterable[Mapping[str, Any]]) -> None:
    """Print these members of each item; None is shown as a hyphen."""
    rows = [[str(item[name] if item[name] is not None else "-") for name in columns] for item in items]
    if not sys.stdout.isatty():
        print("\n".join("\t".join(row) for row in [columns, *rows]))
        return
    table = Table(*columns, box=None)
    for row in rows:
        # Text does not interpret markup, which a name or an address may contain.
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def report_problem(sentence: str) -> None:
    """Print a message on standard error, where it is not part of the result."""
    print(f"kpi: {sentence}", file=sys.stderr)
