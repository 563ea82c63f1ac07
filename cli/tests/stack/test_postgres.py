"""What PostgreSQL's data and disk have to be like, and what happens when they are not."""

import shutil
from pathlib import Path

import pytest
from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout
from kpi_cli.stack import postgres


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(checkout=tmp_path, home=tmp_path)


def test_nearly_full_disk_is_refused(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(layout.home)._replace(free=12 * 2**20)
    monkeypatch.setattr(postgres.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(FailureError) as caught:
        postgres.check_data(layout)
    assert caught.value.part == "disk"
    assert "12 MB are free, and 300 MB are needed" in caught.value.sentence


def test_disk_that_fills_while_postgresql_runs_is_reported(layout: Layout) -> None:
    log = ["LOG: starting", "PANIC:  could not write to file: No space left on device"]
    assert postgres.failure(layout, "it stopped", log).part == "disk"


def test_parent_folders_are_opened_for_passing_through_only(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    postgres._open_parents(folder / "data")
    assert folder.stat().st_mode & 0o777 == 0o701
