"""Writes docs/performance.md from the stored results alone."""

import importlib
import json
from pathlib import Path
from typing import Any, Protocol

from kpi_bench.machine import BUSY
from kpi_bench.options import BENCH, Options

# In the order of the document. Each is a module of kpi_bench.tables.
TABLES = ("gateway", "profile", "platform", "keys", "growth", "conversations", "kit", "limits", "stress")
BY_HAND = BENCH / "kpi_bench" / "by_hand.md"


class Table(Protocol):
    """A module with a table: it returns its measurements as JSON, and renders its section from that JSON alone.

    ``render`` returns Markdown that begins with a heading of level two, and writes plots into the folder ``plots``; the
    document is one folder above, so it refers to them as ``performance/NAME.svg``.
    """

    NAME: str

    def run(self, options: Options) -> dict[str, Any]: ...

    def render(self, results: dict[str, Any], plots: Path) -> str: ...


def load_table(name: str) -> Table:
    module: Any = importlib.import_module(f"kpi_bench.tables.{name}")
    found: Table = module
    return found


def has_table(name: str) -> bool:
    return (BENCH / "kpi_bench" / "tables" / f"{name}.py").exists()


def load_results(folder: Path) -> dict[str, dict[str, Any]]:
    """The results of each table that has been measured, in the order of the document."""
    return {
        name: json.loads((folder / f"{name}.json").read_text()) for name in TABLES if (folder / f"{name}.json").exists()
    }


def render(results: dict[str, dict[str, Any]], plots: Path) -> str:
    sections = [_render_section(name, found, plots) for name, found in results.items()]
    return "\n\n".join([_HEAD, *sections, BY_HAND.read_text().strip()]) + "\n"


def _render_section(name: str, found: dict[str, Any], plots: Path) -> str:
    text = load_table(name).render(found["results"], plots).strip()
    return f"{text}\n\n{_render_conditions(found)}"


def _render_conditions(found: dict[str, Any]) -> str:
    machine, options = found["machine"], found["options"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    busy = (
        "**Other programs kept the machine busy: these figures are not valid.** "
        if machine["load_average"] > BUSY
        else ""
    )
    return (
        f"{busy}*Measured on {machine['date']} in {options['rounds']} rounds of {options['seconds']:g} s each: "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
        f"load average {machine['load_average']} at the beginning; {versions}.*"
    )


_HEAD = """\
# Performance

`make bench` writes this page from the raw numbers in `bench/results/`; `make bench ONLY=gateway` measures one table
again and leaves the others unchanged. The method and its reasons are in [ADR 21](adr/0021-benchmark.md). The contenders
of a table took turns in one run, round after round; the figures are medians, with the lowest and the highest in
brackets. The machine is a small, shared virtual one, so only the ratios are meaningful, not the absolute figures. Below
each table is the date: it measures the code of that day."""
