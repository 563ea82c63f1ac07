"""``python -m kpi_bench [--only NAME ...] [--rounds N] [--seconds S]``."""

import argparse
import json
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from kpi_bench import document, machine
from kpi_bench.harness import report
from kpi_bench.options import DOCUMENT, PLOTS, REPOSITORY, RESULTS, Options
from kpi_bench.processes import BenchError


def main() -> int:
    # SIGTERM, too, must stop all started programs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = _parse_arguments()
    options = replace(Options(), rounds=arguments.rounds, seconds=arguments.seconds)
    # "document" measures nothing: it only writes the document again from the stored results.
    names = [name for name in arguments.only or document.TABLES if name != "document" and document.has_table(name)]
    if names and options.rounds > 1:
        machine.wait_until_calm()
    # Taken before the run, which raises the load average itself.
    facts = machine.facts()
    failed = False
    for name in names:
        report(f"{name}: begins")
        try:
            results = measure_table(name, options, facts)
        except BenchError as error:
            # The other tables are valid without this one.
            report(f"{name}: failed: {error}")
            failed = True
            continue
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(format_json(results) + "\n")
        write_document(RESULTS)
    write_document(RESULTS)
    report(f"written: {DOCUMENT.relative_to(REPOSITORY)}")
    return int(failed)


def measure_table(name: str, options: Options, facts: dict[str, Any]) -> dict[str, Any]:
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    results = document.load_table(name).run(options)
    return {
        "machine": facts,
        "options": {"rounds": options.rounds, "seconds": options.seconds},
        "results": results,
    }


def format_json(results: dict[str, Any]) -> str:
    """JSON with only the significant digits and few lines, since the results are committed."""
    return json.dumps(_round(results), indent=1)


def _round(value: Any) -> Any:  # noqa: ANN401 any JSON
    if isinstance(value, dict):
        return {name: _round(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_round(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def write_document(folder: Path) -> None:
    DOCUMENT.write_text(document.render(document.load_results(folder), PLOTS))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kpi_bench")
    parser.add_argument("--only", nargs="*", choices=[*document.TABLES, "document"])
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    parser.add_argument("--seconds", type=float, default=Options.seconds)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
