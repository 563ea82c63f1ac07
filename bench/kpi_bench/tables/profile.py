"""Where our gateway's time goes under load, by module, as py-spy samples its Python stacks."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kpi_bench.gateways import OURS, Place, upstream
from kpi_bench.harness import markdown_table, report
from kpi_bench.options import Options
from kpi_bench.processes import LOAD_CORE, BenchError, free_port, pin, serve
from kpi_bench.tables.gateway import run_gateway
from kpi_bench.wrk import Wrk

NAME = "profile"

_WRK = Wrk(connections=64)
_RATE = 400
# Modules and functions with less than this share of the samples are left out of the document.
_LEAST = 0.01
_FUNCTIONS = 15
# For example "send (uvicorn/protocols/http/httptools_impl.py:512)".
_FRAME = re.compile(r"(.+) \(([^()]+?)(?::\d+)?\)")
# While the loop's own C code runs, the innermost Python frame is the one that started the loop.
_LOOP = "asyncio/runners.py"
# The outermost frames of every thread but the first are in this file.
_THREADS = "threading.py"

# One stack from the outermost frame to the innermost, as (function, file), and its number of samples.
Stack = tuple[list[tuple[str, str]], int]


def run(options: Options) -> dict[str, Any]:
    seconds = options.rounds * options.seconds
    behind = Place(free_port(), 0, options.work / "upstream")
    with (
        serve(upstream(behind), options.log("upstream"), ready=behind.url),
        run_gateway(OURS, behind, options) as (server, place),
    ):
        _WRK.run(place.url, 1)
        report(f"profile: {seconds:g} s")
        text = _record(server.pid, place.url, seconds, options.work)
    return summarise(parse_stacks(text))


def _record(pid: int, url: str, seconds: float, work: Path) -> str:
    """Record the stacks while wrk runs, in py-spy's raw format, one per line."""
    path = work / "stacks.txt"
    spy = Path(sys.executable).parent / "py-spy"
    command = [str(spy), "record", "--pid", str(pid), "--duration", f"{seconds:.0f}", "--rate", str(_RATE)]
    command += ["--format", "raw", "--output", str(path)]
    with subprocess.Popen(
        pin(command, LOAD_CORE), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as recorder:
        _WRK.run(url, seconds + 1)
        _, errors = recorder.communicate(timeout=60)
    if recorder.returncode or not path.exists():
        raise BenchError(f"py-spy: {errors.strip()[-1000:]}")
    return path.read_text()


def parse_stacks(text: str) -> Iterator[Stack]:
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        found = [_FRAME.fullmatch(frame) for frame in frames.split(";")]
        # Entries that are not Python frames are names of the process or of a thread.
        seen = [(match[1], match[2]) for match in found if match]
        if any(file == _THREADS for _, file in seen):
            # For example the one that waits for a scrape, in a call that py-spy takes for work.
            continue
        # Frames outside the loop are in every stack, so they carry no information.
        loop = next((place for place, (_, file) in enumerate(seen) if file == _LOOP), 0)
        yield seen[loop:], int(count)


def summarise(seen: Iterable[Stack]) -> dict[str, Any]:
    """All samples; by module, itself and with the functions it calls; and by function."""
    itself: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for frames, count in seen:
        if not frames:
            continue
        function, file = frames[-1]
        itself[module_name(file)] += count
        functions[f"{module_name(file)}: {function}"] += count
        for one in {module_name(name) for _, name in frames}:
            inclusive[one] += count
    modules = {name: {"itself": itself[name], "inclusive": number} for name, number in inclusive.most_common()}
    return {"samples": itself.total(), "modules": modules, "functions": dict(functions.most_common(_FUNCTIONS))}


def module_name(file: str) -> str:
    """The module for our own code, the package for other code."""
    if file == _LOOP:
        return "uvloop"
    parts = file.removesuffix(".py").split("/")
    own = next((place for place, part in enumerate(parts) if part in {"kpi_gateway", "kpi_shared"}), None)
    if own is not None:
        return ".".join(parts[own:])
    return parts[0] if len(parts) > 1 else f"Python's {parts[0]}"


def render(results: dict[str, Any], _plots: Path) -> str:
    total = results["samples"]
    modules = [
        [f"`{name}`", f"{seen['itself'] / total:.1%}", f"{seen['inclusive'] / total:.1%}"]
        for name, seen in sorted(results["modules"].items(), key=lambda item: -item[1]["itself"])
        if seen["itself"] >= _LEAST * total
    ]
    functions = [
        [f"`{name}`", f"{seen / total:.1%}"] for name, seen in results["functions"].items() if seen >= _LEAST * total
    ]
    return "\n\n".join(
        [
            "## Where the gateway's time goes",
            _INTRODUCTION.format(total=total),
            markdown_table(["module", "itself", "with calls"], modules),
            markdown_table(["function", "itself"], functions),
        ]
    )


_INTRODUCTION = """\
py-spy sampled our gateway {total:,} times under the load of the table above. C code (the parser of httptools, a write
that uvloop passes to the kernel) is attributed to the Python function that called it; `uvloop` itself is the loop:
waiting for the kernel, reading, and calling."""
