"""Runs all contenders in turn, and formats their figures."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from kpi_bench.options import Options

# Measures one contender for the given number of seconds, and returns figures by name.
Measure = Callable[[float], dict[str, float]]
# The figures of each round, by contender.
Rounds = dict[str, list[dict[str, float]]]

_BEGAN = time.monotonic()


def report(text: str) -> None:
    """Print a line of progress, with the seconds since the benchmark began."""
    print(f"[{time.monotonic() - _BEGAN:6.0f} s] {text}", flush=True)


def run_in_turn(contenders: Mapping[str, Measure], options: Options, *, what: str) -> Rounds:
    """Run each contender once per round; each round begins with a different one.

    A temporary slowdown of the machine then affects all of them, and none always runs after the same one.
    """
    found: Rounds = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(options.rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            figures = contenders[name](options.seconds)
            found[name].append(figures)
            shown = "  ".join(f"{key} {value:,.4g}" for key, value in figures.items())
            report(f"{what}, round {number + 1} of {options.rounds}: {name}: {shown}")
    return found


def figures(rounds: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [one[name] for one in rounds]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """The ratio of each round, in which both were measured close together. A round with a zero divisor is left out."""
    return [one / other for one, other in zip(ours, theirs, strict=True) if other]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median and the range, such as ``1,211 (878 to 1,292)``."""
    if not values:
        return "-"
    middle, low, high = (f"{value:,.{digits}f}" for value in (median(values), min(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def verdict(values: Sequence[float], target: float, *, most: bool = False) -> str:
    """Whether the median reaches the target: at least it or, with ``most``, at most it."""
    if not values:
        return "not measured"
    reached = median(values) <= target if most else median(values) >= target
    return "reached" if reached else "**not reached**"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def read_output(*command: str) -> str:
    """The first line that a program prints, or an empty text if it is not installed."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError:
        return ""
    return next(iter((result.stdout + result.stderr).strip().splitlines()), "")
