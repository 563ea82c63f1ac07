"""This repository as what projects are made from, with all of its files as they are now."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kpi_cli import PRODUCT
from kpi_cli.layout import Layout, find
from kpi_cli.projects import creating
from kpi_shared import product
from project_house import git

CHECKOUT = find().checkout
# The longest that is accepted.
NAME = "A-" + "x" * 38


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of the longest name, made from a repository without a history."""
    folder = tmp_path_factory.mktemp("made")
    platform = folder / "platform"
    names = git(CHECKOUT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, names):
        if (CHECKOUT / name).is_file():
            (platform / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, platform / name)
    git(platform, "init", "--quiet")
    git(platform, "add", "--all", "--force", ".")
    git(platform, "commit", "--quiet", "-m", "All")
    layout = Layout(checkout=platform, home=platform / ".kpi")
    made = creating.create(layout, NAME, address=None, ref=None, folder=folder / "project", extras=frozenset())
    return made.folder


def run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_name_is_the_same_for_the_parts_and_the_command() -> None:
    assert product.PRODUCT == PRODUCT


def test_a_project_has_its_name_where_people_see_it(project: Path) -> None:
    images = ("gateway/Dockerfile", "services/auth/Dockerfile", "services/content/Dockerfile")
    sources = ("cli/kpi_cli/__init__.py", "shared/kpi_shared/product.py")
    for name in (*sources, "docs/openapi.json", "README.md", *images):
        text = (project / name).read_text("utf-8")
        assert NAME in text, name
        # In the description of an API, for example, the platform's own must not stay.
        assert PRODUCT not in text, name
    assert f'name = "{NAME.lower()}"' in (project / "pyproject.toml").read_text("utf-8")


def test_a_project_has_no_bench_no_sample_posts_and_no_state(project: Path) -> None:
    found = {path.name for path in project.iterdir()}
    assert not {"bench", "data", ".kpi", ".venv", "requirements-bench.txt"} & found
    assert {".git", ".copier-answers.yml", "copier.yml", "Makefile", "services"} <= found


def test_the_longest_name_fits_the_style_of_the_house(project: Path) -> None:
    ruff = str(Path(sys.executable).parent / "ruff")
    for arguments in (("check",), ("format", "--check")):
        result = run(project, ruff, *arguments)
        assert result.returncode == 0, result.stdout + result.stderr


def test_the_tests_of_a_project_are_found_without_the_bench(project: Path) -> None:
    command = (sys.executable, "-m", "pytest", "--collect-only", "-q", "cli/tests/projects", "cli/tests/loading")
    result = run(project, *command)
    assert result.returncode == 0, result.stdout + result.stderr


def test_make_says_how_to_get_what_is_left_out(project: Path) -> None:
    make = run(project, "make", "--dry-run", "lock")
    assert "requirements-dev.txt" in make.stdout
    assert "requirements-bench.txt" not in make.stdout
    assert "kpi upgrade --with bench" in run(project, "make", "--dry-run", "bench").stdout
    script = "import sys; sys.path.insert(0, 'cli'); from kpi_cli.main import main; sys.argv = ['kpi', 'load']; main()"
    result = run(project, sys.executable, "-c", script)
    assert result.returncode == 2
    assert "this project was made without the sample posts" in result.stderr
