"""The gateway's metrics in addition to those of its requests: its upstreams, and its rate limits' decisions."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from kpi_shared.places import Places as FairPlaces
from kpi_shared.telemetry.metrics import Metrics

from kpi_gateway.upstream.balancing import Address, Upstream
from kpi_gateway.upstream.places import Places
from kpi_gateway.upstream.streams import StreamPlaces


class UpstreamErrors:
    """Requests that got no complete response from their upstream, by its name and the kind of failure.

    The kind is a problem's ``type``, or ``broke-off`` for a response that ended too early.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        metrics.add_counter(
            "kpi_gateway_upstream_errors",
            "Requests without a complete response from their upstream, by the kind of failure",
            ("upstream", "kind"),
            lambda: {**self._counts},
        )

    def count(self, upstream: str, kind: str) -> None:
        self._counts[upstream, kind] += 1


class StreamCuts:
    """Streams that the gateway ended, by the reason: which side was slow or silent."""

    def __init__(self, metrics: Metrics) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        text = "Streams that were ended because one side was slow or silent"
        metrics.add_counter("kpi_gateway_streams_cut", text, ("reason",), lambda: {**self._counts})

    def count(self, reason: str) -> None:
        self._counts[(reason,)] += 1


def register_streams(metrics: Metrics, streams: StreamPlaces) -> None:
    """Register metrics of the places of streams."""
    metrics.add_gauge("kpi_gateway_streams_open", "Open streams", (), lambda: {(): streams.taken})
    text = "Streams that got no place"
    metrics.add_counter("kpi_gateway_streams_refused", text, (), lambda: {(): streams.refused})


def register_addresses(metrics: Metrics, addresses: Callable[[], Iterable[tuple[str, Address]]]) -> None:
    """Register metrics of the upstreams' addresses; ``addresses`` is called at each scrape."""

    def read(number: Callable[[Address], float]) -> Callable[[], Mapping[tuple[str, ...], float]]:
        return lambda: {(upstream, each.url): number(each) for upstream, each in addresses()}

    labels = ("upstream", "address")
    gauges: dict[str, tuple[str, Callable[[Address], float]]] = {
        "in_flight": ("Requests in flight, without streams", lambda each: each.in_flight),
        "streams": ("Open streams", lambda each: each.streams),
        "connections": ("Open connections, including idle ones", lambda each: len(each.open)),
        "connections_idle": ("Idle connections", lambda each: len(each.idle)),
        "out": ("1 while the address is out of rotation", lambda each: each.is_out),
    }
    for name, (text, number) in gauges.items():
        metrics.add_gauge(f"kpi_gateway_upstream_{name}", text, labels, read(number))
    text = "Failures of an address: refused connections, broken and late responses"
    metrics.add_counter("kpi_gateway_upstream_failures", text, labels, read(lambda each: each.errors))
    text = "Responses of an address with a server error that another address might not have"
    metrics.add_counter("kpi_gateway_upstream_server_errors", text, labels, read(lambda each: each.server_errors))
    text = "How often an address went out of rotation"
    metrics.add_counter("kpi_gateway_upstream_removals", text, labels, read(lambda each: each.removals))


def register_places(metrics: Metrics, upstreams: Mapping[str, Upstream]) -> None:
    """Register metrics of the upstreams' places and of the requests that wait for one."""

    def read(number: Callable[[Places], float]) -> Callable[[], Mapping[tuple[str, ...], float]]:
        return lambda: {(name,): number(each.places) for name, each in upstreams.items()}

    gauges: dict[str, tuple[str, Callable[[Places], float]]] = {
        "places": ("Requests that may be in flight at a time", lambda each: each.total),
        "places_taken": ("Requests in flight", lambda each: each.taken),
        "places_waiting": ("Requests that wait for a place", lambda each: each.waiting),
    }
    for name, (text, number) in gauges.items():
        metrics.add_gauge(f"kpi_gateway_upstream_{name}", text, ("upstream",), read(number))
    text = "Requests that got no place in time"
    metrics.add_counter("kpi_gateway_upstream_refused", text, ("upstream",), read(lambda each: each.refused))


def register_costly(metrics: Metrics, by_upstream: Mapping[str, FairPlaces]) -> None:
    """Register a metric of the costly requests that were refused."""
    metrics.add_counter(
        "kpi_gateway_costly_refused",
        "Costly requests that got no place in time",
        ("upstream",),
        lambda: {(name,): each.refused for name, each in by_upstream.items()},
    )


def register_retries(metrics: Metrics, upstreams: Mapping[str, Upstream]) -> None:
    """Register a metric of the requests that were repeated, by upstream and reason."""
    text = "Requests that were repeated, by the reason"
    metrics.add_counter(
        "kpi_gateway_upstream_retries",
        text,
        ("upstream", "reason"),
        lambda: {(name, why): count for name, each in upstreams.items() for why, count in each.repeated.items()},
    )


def register_limits(metrics: Metrics, decisions: Callable[[], Mapping[tuple[str, ...], int]]) -> None:
    """Register a metric of the rate limits' decisions, by policy and outcome."""
    text = "Decisions of the rate limits"
    metrics.add_counter("kpi_gateway_limit_decisions", text, ("policy", "outcome"), lambda: {**decisions()})


def register_keys(
    metrics: Metrics,
    counts: Callable[[], Mapping[tuple[str, ...], int]],
    exchanges: Callable[[], Mapping[tuple[str, ...], int]],
) -> None:
    """Register metrics of the requests with an API key, by what became of them, and of the exchanges with auth."""
    metrics.add_counter("kpi_gateway_key_requests", "Requests with an API key, by outcome", ("outcome",), counts)
    metrics.add_counter("kpi_gateway_key_exchanges", "How often auth was asked about an API key", (), exchanges)
