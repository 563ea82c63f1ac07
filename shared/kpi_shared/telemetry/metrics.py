"""What one process counts of itself, in the form that Prometheus reads.

Whoever counts keeps plain numbers, and a scrape reads them where they are: counting costs a request next to nothing,
and what is not asked for is not computed. A scrape runs in a thread of its own beside the event loop.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Literal

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

# Values by the values of the labels; () is the key of a metric without any.
Values = Mapping[tuple[str, ...], float]
Read = Callable[[], Values]

# Upper bounds in seconds: a proxied request takes one millisecond, an argon2 hash some tens of them.
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# RFC 9110 and RFC 5789; a client may send any other word, and each would become a series for ever.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
_OTHER_METHOD = "OTHER"
UNMATCHED = "unmatched"
_NO_ANSWER = "none"


class _Series:
    """The requests of one route and method: how many took how long, how long together, and their statuses."""

    __slots__ = ("buckets", "seconds", "statuses")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.seconds = 0.0
        self.statuses: dict[int, int] = {}


class RequestMetrics:
    """Requests by route template, method and status, their latency, and how many are in flight.

    ``began`` and ``done`` are called once for each request, in the event loop's thread.
    """

    def __init__(self, part: str) -> None:
        self.in_flight = 0
        self._part = part
        self._series: dict[tuple[str, str], _Series] = {}

    def begin(self) -> None:
        self.in_flight += 1

    def end(self, route: str, method: str, status: int, seconds: float) -> None:
        """``route`` is a template, never a path; ``status`` is 0 where no answer went out."""
        self.in_flight -= 1
        series = self._series.get((route, method)) or self._new(route, method)
        series.buckets[bisect_left(_BOUNDS, seconds)] += 1
        series.seconds += seconds
        series.statuses[status] = series.statuses.get(status, 0) + 1

    def _new(self, route: str, method: str) -> _Series:
        known = method if method in _METHODS else _OTHER_METHOD
        return self._series.setdefault((route, known), _Series())

    def collect(self) -> Iterator[Metric]:
        series = sorted(self._series.copy().items())
        yield self._counted(series)
        yield self._timed(series)
        in_flight = GaugeMetricFamily("kpi_http_requests_in_flight", "Requests not yet fully answered", labels=["part"])
        in_flight.add_metric([self._part], self.in_flight)
        yield in_flight

    def _counted(self, series: Iterable[tuple[tuple[str, str], _Series]]) -> Metric:
        family = CounterMetricFamily(
            "kpi_http_requests",
            "Requests by route template, method and status; none: the client left before an answer began",
            labels=["part", "route", "method", "status"],
        )
        for (route, method), each in series:
            for status, count in sorted(each.statuses.copy().items()):
                family.add_metric([self._part, route, method, str(status or _NO_ANSWER)], count)
        return family

    def _timed(self, series: Iterable[tuple[tuple[str, str], _Series]]) -> Metric:
        family = HistogramMetricFamily(
            "kpi_http_request_duration_seconds",
            "Time from the end of a request's head until its answer began, as in X-Response-Time",
            labels=["part", "route", "method"],
        )
        bounds = [*map(str, _BOUNDS), "+Inf"]
        for (route, method), each in series:
            buckets = list(zip(bounds, accumulate(each.buckets.copy()), strict=True))
            family.add_metric([self._part, route, method], buckets, sum_value=each.seconds)
        return family


class _Reading(Collector):
    """One metric whose numbers are somebody else's."""

    def __init__(self, family: Callable[[], CounterMetricFamily | GaugeMetricFamily], read: Read) -> None:
        self._family = family
        self._read = read

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for labels, value in self._read().items():
            family.add_metric(labels, value)
        yield family

    def describe(self) -> Iterator[Metric]:
        # Registering asks for the names; what is to be read may not be there yet.
        yield self._family()


class Metrics:
    """All that one part of one process counts: its requests, the process, and what else is registered here."""

    def __init__(self, part: str) -> None:
        self.registry = CollectorRegistry()
        self.requests = RequestMetrics(part)
        self.registry.register(self.requests)
        for standard in (ProcessCollector, PlatformCollector, GCCollector):
            standard(registry=self.registry)

    def add_gauge(self, name: str, text: str, labels: Iterable[str], read: Read) -> None:
        """``read`` is called at each scrape, in another thread: it only reads numbers, and returns quickly."""
        self._register("gauge", name, text, tuple(labels), read)

    def add_counter(self, name: str, text: str, labels: Iterable[str], read: Read) -> None:
        """As ``gauge``, for numbers that only grow. The name is without its ``_total``."""
        self._register("counter", name, text, tuple(labels), read)

    def _register(
        self, kind: Literal["gauge", "counter"], name: str, text: str, labels: tuple[str, ...], read: Read
    ) -> None:
        family = GaugeMetricFamily if kind == "gauge" else CounterMetricFamily
        self.registry.register(_Reading(lambda: family(name, text, labels=labels), read))
