"""The usage of each library, which ``kpi libs NAME --usage`` prints, is a program that works."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kpi_kit
import pytest

LIBRARIES = ["cache", "crypt", "events", "hashing", "http", "mail", "notify", "queue", "storage"]
Programs = dict[str, "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """All of them, started at once: most of their time is that of imports."""
    folder = tmp_path_factory.mktemp("usages")
    started = {
        name: subprocess.Popen(
            [sys.executable, "-W", "error", "-m", f"kpi_kit.{name}.usage"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in LIBRARIES
    }
    yield started
    for program in started.values():
        program.kill()
        program.communicate()


def test_each_library_has_a_usage() -> None:
    folder = Path(next(iter(kpi_kit.__path__)))
    for file in ("__init__.py", "usage.py"):
        assert sorted(each.parent.name for each in folder.glob(f"*/{file}")) == LIBRARIES


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_usage_runs_prints_what_it_did_and_warns_of_nothing(library: str, programs: Programs) -> None:
    output, errors = programs[library].communicate(timeout=60)
    assert (programs[library].returncode, errors) == (0, "")
    assert output
