"""What the libraries of the kit add to the libraries that they call."""

from pathlib import Path
from typing import Any

from kpi_bench import kit_cache, kit_queue
from kpi_bench.harness import report
from kpi_bench.options import Options

NAME = "kit"
# Each is a module with `run(options)` and `render(results)`, as a table is, without a heading of level two.
_LIBRARIES = {"cache": kit_cache, "queue": kit_queue}


def run(options: Options) -> dict[str, Any]:
    found = {}
    for name, library in _LIBRARIES.items():
        report(f"kit: {name}")
        found[name] = library.run(options)
    return found


def render(results: dict[str, Any], plots: Path) -> str:  # noqa: ARG001 this table has no plot
    return "\n\n".join([_TEXT, *(_LIBRARIES[name].render(found) for name, found in results.items())])


_TEXT = """\
## The kit and the libraries behind it

Both sides of a ratio take turns in one run, in the same process and on the same server."""
