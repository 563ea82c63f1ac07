"""The document matches the stored results, and its links to plots are valid. No time is measured here."""

import re
from pathlib import Path
from typing import Any

import pytest
from kpi_bench import document, plots
from kpi_bench.options import DOCUMENT, PLOTS, RESULTS


@pytest.fixture
def plot_paths(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """The paths of the requested plots; drawing needs a library that only ``make bench`` installs."""
    paths: set[Path] = set()

    def draw(path: Path, values: dict[str, Any], **_options: Any) -> None:
        assert values
        paths.add(path)

    monkeypatch.setattr(plots, "bars", draw)
    monkeypatch.setattr(plots, "lines", draw)
    return paths


def test_the_document_is_written_from_the_stored_results(plot_paths: set[Path]) -> None:
    results = document.load_results(RESULTS)
    assert "gateway" in results
    assert document.render(results, PLOTS) == DOCUMENT.read_text(), "run: make bench ONLY=document"


def test_the_document_shows_each_plot_and_each_shown_plot_exists(plot_paths: set[Path]) -> None:
    text = document.render(document.load_results(RESULTS), PLOTS)
    shown = {DOCUMENT.parent / path for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)}
    assert shown == plot_paths
    assert all(path.stat().st_size < 64 * 1024 for path in shown)


@pytest.mark.parametrize("name", [name for name in document.TABLES if document.has_table(name)])
def test_each_table_has_the_name_of_its_module(name: str) -> None:
    assert name == document.load_table(name).NAME


def test_stored_results_belong_to_a_table() -> None:
    assert {path.stem for path in RESULTS.glob("*.json")} <= {n for n in document.TABLES if document.has_table(n)}
