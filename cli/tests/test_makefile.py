"""The Makefile on a machine where nothing is installed yet."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kpi_cli.layout import find
from kpi_cli.parts import PARTS

CHECKOUT = find().checkout
TOOLS = ("make", "sh", "echo", "awk", "cksum", "cut", "pwd", "rm", "touch", "env", "grep", "head", "tr", "ps")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A copy of the Makefile and the files that it reads, and a PATH without a Python."""
    for name in ("Makefile", "requirements-uv.txt", "requirements-dev.txt", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, tmp_path)
    for part in ("shared", *(part.folder for part in PARTS), "cli"):
        (tmp_path / part).mkdir(parents=True)
        shutil.copy(CHECKOUT / part / "pyproject.toml", tmp_path / part)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "/nonexistent")
    return tmp_path


def make(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    # A make that runs the tests must not pass its own settings to the one under test.
    environment = {"PATH": str(folder / "bin"), **settings}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def python(folder: Path, name: str, script: str) -> None:
    program = folder / "bin" / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_help_is_the_default_and_explains_every_target(bare: Path) -> None:
    targets = re.search(r"^\.PHONY: (.*)$", (bare / "Makefile").read_text(), re.MULTILINE)
    assert targets
    result = make(bare)
    assert result.returncode == 0
    for target in targets.group(1).split():
        assert re.search(rf"^  make {target} +\w", result.stdout, re.MULTILINE), target


def test_no_python_that_is_new_enough_is_one_sentence(bare: Path) -> None:
    python(bare, "python3", "exit 1")
    result = make(bare, "up")
    assert result.returncode != 0
    assert "make: Python 3.11 or newer is required, and python3 is not: install it" in result.stderr


def test_python_without_pip_is_one_sentence(bare: Path) -> None:
    # The default Python is too old, and the newer one beside it has no pip.
    python(bare, "python3", "exit 1")
    python(bare, "python3.12", '[ "$1" != -m ]')
    result = make(bare, "up")
    assert result.returncode != 0
    assert "make: python3.12 has no pip: sudo apt-get install python3-pip" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("named", [True, False])
def test_clean_data_refuses_while_postgresql_runs_even_without_an_environment(bare: Path, *, named: bool) -> None:
    home = bare / ("elsewhere" if named else ".kpi")
    settings = {"KPI_HOME": str(home)} if named else {}
    data = home / "postgres"
    data.mkdir(parents=True)
    command = [sys.executable, "-c", "import time; time.sleep(600)", "-D", str(data), "-c", "port=1"]
    with subprocess.Popen(command) as server:
        (data / "postmaster.pid").write_text(f"{server.pid}\n")
        refused = make(bare, "clean-data", **settings)
        kept = data.exists()
        server.kill()
    done = make(bare, "clean-data", **settings)
    assert refused.returncode != 0
    assert f"process {server.pid} is" in refused.stderr
    assert kept
    assert done.returncode == 0, done.stderr
    assert not data.exists()


def test_clean_data_refuses_while_a_part_of_a_killed_stack_runs(bare: Path) -> None:
    (bare / ".kpi").mkdir()
    with subprocess.Popen(["sleep", "600"], env={"PATH": "/usr/bin:/bin", "KPI_STACK": str(bare / ".kpi")}) as part:
        result = make(bare, "clean-data")
        part.kill()
    assert f"process {part.pid} is" in result.stderr
