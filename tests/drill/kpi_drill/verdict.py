"""What a row of the table found, and the figures in it."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from kpi_drill.load import Sample


class Verdict(NamedTuple):
    """``kept`` is None if the row could not run here, and ``figure`` says why."""

    figure: str
    kept: bool | None


def failed_share(samples: Sequence[Sample]) -> float:
    return sum(one.failed for one in samples) / max(1, len(samples))


def percentile(values: Iterable[float], share: float) -> float:
    """0 if there is no value."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def p99(samples: Iterable[Sample]) -> float:
    return percentile((one.reply.took for one in samples), 0.99)


def p50(samples: Iterable[Sample]) -> float:
    times = [one.reply.took for one in samples]
    return median(times) if times else 0.0


def longest_failure(samples: Iterable[Sample]) -> float:
    """How long after it was sent the last failed request had its outcome, in seconds."""
    return max((one.reply.took for one in samples if one.failed), default=0.0)


def seconds(value: float) -> str:
    return f"{value:.1f} s"


def percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")


def milliseconds(value: float) -> str:
    return f"{value * 1000:.0f} ms"
