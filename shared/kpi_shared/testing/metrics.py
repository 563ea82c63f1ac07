"""Reading the metrics of a part from GET /metrics."""

from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from kpi_shared.testing.process import wait_until


class Scrape:
    """The samples of one response."""

    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    @classmethod
    def of(cls, port: int) -> "Scrape":
        return cls(httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).raise_for_status().text)

    @classmethod
    def wait_for(cls, port: int, condition: Callable[["Scrape"], bool]) -> "Scrape":
        """The first response that fulfils the condition: a part counts a request after its response is sent."""
        found = cls.of(port)

        def is_fulfilled() -> bool:
            nonlocal found
            found = cls.of(port)
            return condition(found)

        wait_until(is_fulfilled)
        return found

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples with this name and these labels; 0 if there are none."""
        return sum(
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self._samples if sample.name == name}
