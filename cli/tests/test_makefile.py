"""The Makefile where nothing is installed yet."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from kpi_cli.layout import find

CHECKOUT = find().checkout
TOOLS = ("make", "sh", "echo", "awk", "cksum", "cut", "pwd", "rm", "touch", "env")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A copy of the Makefile and what it looks at, and a PATH on which there is no Python."""
    for name in ("Makefile", "requirements-uv.txt", "requirements-dev.txt", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, tmp_path)
    for part in ("shared", "services/auth", "services/content", "gateway", "cli"):
        (tmp_path / part).mkdir(parents=True)
        shutil.copy(CHECKOUT / part / "pyproject.toml", tmp_path / part)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "/nonexistent")
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A make that runs the tests must not lend its own settings to the one that is tested.
    environment = {"PATH": str(folder / "bin")}
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
    assert "make: Python 3.11 or newer is needed, and python3 is none: install one" in result.stderr


def test_python_without_pip_is_one_sentence(bare: Path) -> None:
    # The default Python is too old, and the newer one beside it has no pip.
    python(bare, "python3", "exit 1")
    python(bare, "python3.12", '[ "$1" != -m ]')
    result = make(bare, "up")
    assert result.returncode != 0
    assert "make: python3.12 has no pip: sudo apt-get install python3-pip" in result.stderr
    assert "Traceback" not in result.stderr
