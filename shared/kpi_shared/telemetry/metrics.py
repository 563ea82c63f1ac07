"""The metrics of one process, in the Prometheus format.

Each module keeps its counts as plain numbers, and a scrape reads them there: counting costs a request next to nothing,
and nothing is computed between scrapes. A scrape runs in its own thread, not in the event loop.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Literal

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

# The values of a metric by its label values; the key of a metric without labels is ().
Values = Mapping[tuple[str, ...], float]
Read = Callable[[], Values]

# Upper bounds in seconds: a proxied request takes a millisecond, an argon2 hash tens of milliseconds.
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# RFC 9110 and RFC 5789. A client may send any other word, and each would become a permanent time series.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
_OTHER_METHOD = "OTHER"
_NO_RESPONSE = "none"


class _Series:
    """The requests of one route and method: counts by duration, total duration, counts by status."""

    __slots__ = ("buckets", "seconds", "statuses")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.seconds = 0.0
        self.statuses: dict[int, int] = {}


class RequestMetrics:
    """Requests by route template, method and status, their latency, and how many are in flight.

    ``begin`` and ``end`` are called once per request, in the thread of the event loop.
    """

    def __init__(self, part: str) -> None:
        self.in_flight = 0
        self._part = part
        self._series: dict[tuple[str, str], _Series] = {}

    def begin(self) -> None:
        self.in_flight += 1

    def end(self, route: str, method: str, status: int, seconds: float) -> None:
        """``route`` is a template, never a path; ``status`` is 0 if no response was sent."""
        self.in_flight -= 1
        series = self._series.get((route, method)) or self._add_series(route, method)
        series.buckets[bisect_left(_BOUNDS, seconds)] += 1
        series.seconds += seconds
        series.statuses[status] = series.statuses.get(status, 0) + 1

    def _add_series(self, route: str, method: str) -> _Series:
        known = method if method in _METHODS else _OTHER_METHOD
        return self._series.setdefault((route, known), _Series())

    def collect(self) -> Iterator[Metric]:
        series = sorted(self._series.copy().items())
        yield self._request_family(series)
        yield self._duration_family(series)
        in_flight = GaugeMetricFamily(
            "kpi_http_requests_in_flight", "Requests whose response is not complete", labels=["part"]
        )
        in_flight.add_metric([self._part], self.in_flight)
        yield in_flight

    def _request_family(self, series: Iterable[tuple[tuple[str, str], _Series]]) -> Metric:
        family = CounterMetricFamily(
            "kpi_http_requests",
            "Requests by route template, method and status; none: the client disconnected before a response started",
            labels=["part", "route", "method", "status"],
        )
        for (route, method), each in series:
            for status, count in sorted(each.statuses.copy().items()):
                family.add_metric([self._part, route, method, str(status or _NO_RESPONSE)], count)
        return family

    def _duration_family(self, series: Iterable[tuple[tuple[str, str], _Series]]) -> Metric:
        family = HistogramMetricFamily(
            "kpi_http_request_duration_seconds",
            "Time from the end of the request head to the start of the response, as in X-Response-Time",
            labels=["part", "route", "method"],
        )
        bounds = [*map(str, _BOUNDS), "+Inf"]
        for (route, method), each in series:
            buckets = list(zip(bounds, accumulate(each.buckets.copy()), strict=True))
            family.add_metric([self._part, route, method], buckets, sum_value=each.seconds)
        return family


class _ExternalMetric(Collector):
    """A metric whose numbers another module keeps."""

    def __init__(self, family: Callable[[], CounterMetricFamily | GaugeMetricFamily], read: Read) -> None:
        self._family = family
        self._read = read

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for labels, value in self._read().items():
            family.add_metric(labels, value)
        yield family

    def describe(self) -> Iterator[Metric]:
        # Registration needs the names only; the values may not exist yet.
        yield self._family()


class Metrics:
    """All metrics of a part in one process: requests, the process, and what other modules register."""

    def __init__(self, part: str) -> None:
        self.registry = CollectorRegistry()
        self.requests = RequestMetrics(part)
        self.registry.register(self.requests)
        for standard in (ProcessCollector, PlatformCollector, GCCollector):
            standard(registry=self.registry)

    def add_gauge(self, name: str, text: str, labels: Iterable[str], read: Read) -> None:
        """``read`` is called on each scrape, in another thread: it must only read numbers and return quickly."""
        self._register("gauge", name, text, tuple(labels), read)

    def add_counter(self, name: str, text: str, labels: Iterable[str], read: Read) -> None:
        """As ``add_gauge``, for numbers that only grow. The name has no ``_total`` suffix."""
        self._register("counter", name, text, tuple(labels), read)

    def _register(
        self, kind: Literal["gauge", "counter"], name: str, text: str, labels: tuple[str, ...], read: Read
    ) -> None:
        family = GaugeMetricFamily if kind == "gauge" else CounterMetricFamily
        self.registry.register(_ExternalMetric(lambda: family(name, text, labels=labels), read))
