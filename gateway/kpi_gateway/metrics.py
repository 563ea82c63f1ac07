"""What the gateway counts beside its requests: its upstreams, and the decisions of its rate limits."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from kpi_shared.telemetry.metrics import Metrics

from kpi_gateway.balancing import Address, Upstream
from kpi_gateway.places import Places


class UpstreamErrors:
    """Requests that got no whole answer from their upstream, by its name and the kind of failure.

    The kind is a problem's ``type``, or ``broke-off`` for an answer that ended too early.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        metrics.add_counter(
            "kpi_gateway_upstream_errors",
            "Requests that an upstream gave no whole answer to, by the kind of failure",
            ("upstream", "kind"),
            lambda: {**self._counts},
        )

    def count(self, upstream: str, kind: str) -> None:
        self._counts[upstream, kind] += 1


def watch_addresses(metrics: Metrics, addresses: Callable[[], Iterable[tuple[str, Address]]]) -> None:
    """Have the addresses of the upstreams among the metrics; ``addresses`` is called at each scrape."""

    def read(number: Callable[[Address], float]) -> Callable[[], Mapping[tuple[str, ...], float]]:
        return lambda: {(upstream, each.url): number(each) for upstream, each in addresses()}

    labels = ("upstream", "address")
    gauges: dict[str, tuple[str, Callable[[Address], float]]] = {
        "in_flight": ("Requests sent and not yet answered", lambda each: each.in_flight),
        "connections": ("Open connections, idle ones among them", lambda each: len(each.open)),
        "connections_idle": ("Open connections that wait for a request", lambda each: len(each.idle)),
        "out": ("1 while the address is left out because it failed", lambda each: each.is_out),
    }
    for name, (text, number) in gauges.items():
        metrics.add_gauge(f"kpi_gateway_upstream_{name}", text, labels, read(number))
    text = "Failures of an address: refused, broken and late answers"
    metrics.add_counter("kpi_gateway_upstream_failures", text, labels, read(lambda each: each.errors))


def watch_places(metrics: Metrics, upstreams: Mapping[str, Upstream]) -> None:
    """Have the places of the upstreams among the metrics, and who waits for one."""

    def read(number: Callable[[Places], float]) -> Callable[[], Mapping[tuple[str, ...], float]]:
        return lambda: {(name,): number(each.places) for name, each in upstreams.items()}

    gauges: dict[str, tuple[str, Callable[[Places], float]]] = {
        "places": ("Requests that may be in flight", lambda each: each.total),
        "places_taken": ("Requests in flight", lambda each: each.taken),
        "places_waiting": ("Requests that wait for a place", lambda each: each.waiting),
    }
    for name, (text, number) in gauges.items():
        metrics.add_gauge(f"kpi_gateway_upstream_{name}", text, ("upstream",), read(number))
    text = "Requests that found no place in time"
    metrics.add_counter("kpi_gateway_upstream_refused", text, ("upstream",), read(lambda each: each.refused))


def watch_limits(metrics: Metrics, decisions: Callable[[], Mapping[tuple[str, ...], int]]) -> None:
    """Have the decisions of the rate limits among the metrics, as numbers by policy and outcome."""
    text = "Decisions of the rate limits"
    metrics.add_counter("kpi_gateway_limit_decisions", text, ("policy", "outcome"), lambda: {**decisions()})
