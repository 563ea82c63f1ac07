"""Reading the metrics of a part from GET /metrics."""

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The samples of one response."""

    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    @classmethod
    def of(cls, port: int) -> "Scrape":
        return cls(httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).raise_for_status().text)

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples with this name and these labels; 0 if there are none."""
        return sum(
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self._samples if sample.name == name}
