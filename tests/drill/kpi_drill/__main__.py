"""``python -m kpi_drill``: run the rows one after another, and print the table."""

import argparse
import asyncio
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress

from kpi_drill.rows.table import ROWS, Row
from kpi_drill.stage import Stage, open_stage
from kpi_drill.verdict import Verdict

_WORDS = {True: "kept", False: "MISSED", None: "not run"}


def main() -> int:
    options = _parse_options()
    rows = [row for row in ROWS if options.only in {"", row.name}]
    with open_stage(seed=options.seed) as stage:
        verdicts = asyncio.run(_run_rows(rows, stage))
    print(f"\n{render(rows, verdicts)}\n")
    return int(any(verdict.kept is False for verdict in verdicts))


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make drill")
    parser.add_argument("--only", default="", choices=["", *(row.name for row in ROWS)])
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


async def _run_rows(rows: Sequence[Row], stage: Stage) -> list[Verdict]:
    return [await _run_row(row, stage) for row in rows]


async def _run_row(row: Row, stage: Stage) -> Verdict:
    began = time.monotonic()
    try:
        async with asyncio.timeout(row.seconds):
            verdict = await row.run(stage)
    except Exception as error:  # noqa: BLE001 one row that fails must not keep the others from running
        traceback.print_exc()
        verdict = Verdict(f"could not be measured: {type(error).__name__}: {error}"[:200], kept=False)
    print(f"{row.name} ({time.monotonic() - began:.0f} s): {verdict.figure}: {_WORDS[verdict.kept]}", flush=True)
    return verdict


def render(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> str:
    """The table, in Markdown."""
    lines = ["| fault | today | bar | |", "|---|---|---|---|"]
    for row, verdict in zip(rows, verdicts, strict=True):
        lines.append(f"| {row.fault} | {verdict.figure} | {row.bar} | {_WORDS[verdict.kept]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
