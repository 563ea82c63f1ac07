"""What the gateway counts beside its requests: its upstreams, and the decisions of its rate limits."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from kpi_shared.metrics import Metrics


class UpstreamErrors:
    """Requests that got no whole answer from their upstream, by its name and the kind of failure.

    The kind is a problem's ``type``, or ``broke-off`` for an answer that ended too early.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        metrics.counter(
            "kpi_gateway_upstream_errors",
            "Requests that an upstream gave no whole answer to, by the kind of failure",
            ("upstream", "kind"),
            lambda: {**self._counts},
        )

    def count(self, upstream: str, kind: str) -> None:
        self._counts[upstream, kind] += 1


class AddressNumbers(Protocol):
    """One address of an upstream, as its client keeps it: plain numbers that a scrape reads in another thread."""

    @property
    def upstream(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def in_flight(self) -> int:
        """Requests that were sent, or wait for a connection, and are not yet answered."""

    @property
    def open(self) -> int:
        """Connections, idle ones among them."""

    @property
    def idle(self) -> int: ...
    @property
    def failures(self) -> int:
        """All since the start: refused, broken and late ones."""

    @property
    def is_out(self) -> bool:
        """Is it left out of the choice for now?"""


def watch_addresses(metrics: Metrics, addresses: Callable[[], Iterable[AddressNumbers]]) -> None:
    """Have the upstreams' addresses among the metrics; ``addresses`` is called at each scrape."""

    def read(number: Callable[[AddressNumbers], float]) -> Callable[[], Mapping[tuple[str, ...], float]]:
        return lambda: {(each.upstream, each.address): number(each) for each in addresses()}

    labels = ("upstream", "address")
    gauges: dict[str, tuple[str, Callable[[AddressNumbers], float]]] = {
        "in_flight": ("Requests sent and not yet answered", lambda each: each.in_flight),
        "connections": ("Open connections, idle ones among them", lambda each: each.open),
        "connections_idle": ("Open connections that wait for a request", lambda each: each.idle),
        "out": ("1 while the address is left out because it failed", lambda each: each.is_out),
    }
    for name, (text, number) in gauges.items():
        metrics.gauge(f"kpi_gateway_upstream_{name}", text, labels, read(number))
    text = "Failures of an address: refused, broken and late answers"
    metrics.counter("kpi_gateway_upstream_failures", text, labels, read(lambda each: each.failures))


def watch_limits(metrics: Metrics, decisions: Callable[[], Mapping[tuple[str, ...], int]]) -> None:
    """Have the decisions of the rate limits among the metrics, as numbers by policy and outcome."""
    text = "Decisions of the rate limits"
    metrics.counter("kpi_gateway_limit_decisions", text, ("policy", "outcome"), lambda: {**decisions()})
