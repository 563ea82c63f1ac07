"""The calls that a part makes to others through libraries: metrics, and spans if traces are exported.

A library of the kit takes a ``CallObserver`` as its ``observer``; neither package imports the other.
"""

from asyncio import CancelledError
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import accumulate
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from kpi_shared.telemetry.tracing import Tracing

# Upper bounds in seconds: a read of memory takes microseconds, a call of another service up to its deadline.
_BOUNDS = (0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LABELS = ("part", "library", "operation", "driver")
_Names = tuple[str, str, str]


class _Series:
    """The calls of one operation: counts by duration, total duration, counts by outcome."""

    __slots__ = ("buckets", "outcomes", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.seconds = 0.0
        self.outcomes: dict[str, int] = {}

    def add(self, seconds: float, outcome: str) -> None:
        self.buckets[bisect_left(_BOUNDS, seconds)] += 1
        self.seconds += seconds
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


class CallObserver(Collector):
    """Counted in the thread of the event loop, and read by scrapes in another one."""

    def __init__(self, part: str, tracing: "Tracing | None" = None) -> None:
        self._part = part
        self._tracing = tracing
        self._series: dict[_Names, _Series] = {}

    def observe(self, library: str, operation: str, driver: str) -> AbstractContextManager[object]:
        """Entered around one call. The names are labels of metrics, so each of them has few values."""
        names = (library, operation, driver)
        series = self._series.get(names) or self._series.setdefault(names, _Series())
        if self._tracing is None:
            return _Measured(series)
        attributes = {"kpi.library": library, "kpi.operation": operation, "kpi.driver": driver}
        return _Traced(series, self._tracing.start_call(f"{library} {operation}", attributes))

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "kpi_kit_calls",
            "Calls through the libraries of the kit by outcome: ok, error, unavailable (the other side), cancelled",
            labels=[*_LABELS, "outcome"],
        )
        durations = HistogramMetricFamily(
            "kpi_kit_call_duration_seconds", "Time of calls through the libraries of the kit", labels=_LABELS
        )
        bounds = [*map(str, _BOUNDS), "+Inf"]
        for names, series in sorted(self._series.copy().items()):
            for outcome, count in sorted(series.outcomes.copy().items()):
                calls.add_metric([self._part, *names, outcome], count)
            buckets = list(zip(bounds, accumulate(series.buckets.copy()), strict=True))
            durations.add_metric([self._part, *names], buckets, sum_value=series.seconds)
        yield calls
        yield durations


class _Measured(AbstractContextManager[None]):
    __slots__ = ("_series", "_started")

    def __init__(self, series: _Series) -> None:
        self._series = series

    def __enter__(self) -> None:
        self._started = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._series.add(perf_counter() - self._started, "ok" if error is None else _describe(error))


class _Traced(_Measured):
    """With a span too, which is the current one within the call."""

    __slots__ = ("_context", "_span")

    def __init__(self, series: _Series, context: "AbstractContextManager[Span]") -> None:
        super().__init__(series)
        self._context = context

    def __enter__(self) -> None:
        self._span = self._context.__enter__()
        super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if error is not None:
            # Already imported, as its span shows.
            from kpi_shared.telemetry.tracing import record_error  # noqa: PLC0415

            record_error(self._span, type(error).__qualname__)
        self._context.__exit__(kind, error, trace)


def _describe(error: BaseException) -> str:
    """An error may have an ``outcome``, as those of the kit do."""
    if isinstance(error, CancelledError):
        return "cancelled"
    outcome = getattr(error, "outcome", None)
    return outcome if isinstance(outcome, str) else "error"
