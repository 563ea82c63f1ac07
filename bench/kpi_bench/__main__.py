"""``python -m kpi_bench [--only NAME ...] [--rounds N] [--seconds S]``."""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from kpi_bench import document, machine
from kpi_bench.harness import say
from kpi_bench.options import DOCUMENT, PLOTS, RESULTS, Options


def main() -> None:
    arguments = _arguments()
    options = replace(Options(), rounds=arguments.rounds, seconds=arguments.seconds)
    # "document" measures nothing: the stored results are written down again.
    for name in [name for name in arguments.only or document.TABLES if name != "document" and document.there_is(name)]:
        say(f"{name}: begins")
        results = measured(name, options)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
        write_document(RESULTS)
    write_document(RESULTS)
    say(f"written: {DOCUMENT}")


def measured(name: str, options: Options) -> dict[str, Any]:
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    results = document.table(name).run(options)
    return {
        "machine": machine.facts(),
        "options": {"rounds": options.rounds, "seconds": options.seconds},
        "results": results,
    }


def write_document(folder: Path) -> None:
    DOCUMENT.write_text(document.render(document.stored(folder), PLOTS))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kpi_bench")
    parser.add_argument("--only", nargs="*", choices=[*document.TABLES, "document"])
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    parser.add_argument("--seconds", type=float, default=Options.seconds)
    return parser.parse_args()


if __name__ == "__main__":
    main()
