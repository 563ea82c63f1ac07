"""A project that was made from an earlier state of this repository, and goes on, takes the present one in.

The light tests of ``kpi upgrade`` are in ``cli/tests/projects``; this one has the real files, and the real history if
the checkout has it.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from generator_mixes import PRODUCT
from generator_support import CHECKOUT, Clone
from kpi_cli import revisions
from kpi_shared.testing.process import clean_environment

pytestmark = pytest.mark.e2e

MIGRATION = '''"""fill: room on the pages of posts

Revision ID: {name}
Revises: {follows}
"""

from alembic import op

revision = "{name}"
down_revision = "{follows}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE posts SET (fillfactor = 90)")


def downgrade() -> None:
    op.execute("ALTER TABLE posts RESET (fillfactor)")
'''


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Not pytest's: the tests that run below it would close it to PostgreSQL, whose programs are there."""
    if not request.config.getoption("--generator"):
        pytest.skip("with --generator only: two installations and the checks of a whole project")
    with tempfile.TemporaryDirectory(prefix="kpi-upgrade-", ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


def run(folder: Path, *command: str, code: int = 0) -> str:
    """The output of a command that ends with this exit code."""
    environment = clean_environment({"NO_COLOR": "1"})
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == code, f"{' '.join(command)}\n{result.stdout[-8000:]}{result.stderr[-8000:]}"
    return result.stdout


def git(folder: Path, *words: str) -> str:
    return run(folder, "git", "-c", "user.name=test", "-c", "user.email=test@example.com", *words)


def find_start() -> str | None:
    """The oldest commit of the main line that has all of what is tested here; None without such a history."""
    lines = git(CHECKOUT, "log", "--first-parent", "--format=%H", "--max-count=300").split()
    usable = [
        commit
        for commit in lines
        if git(CHECKOUT, "ls-tree", "--name-only", commit, str(Path(__file__).relative_to(CHECKOUT)))
    ]
    return usable[-1] if usable else None


def make_platform(root: Path, start: str | None) -> str:
    """A repository that has the earlier state, and after it the present one; returns the earlier commit."""
    if start is None:
        root.mkdir()
        git(root, "init", "--quiet")
    else:
        git(root.parent, "clone", "--quiet", str(CHECKOUT), str(root))
        git(root, "rm", "-r", "--quiet", ".")
    for name in filter(None, git(CHECKOUT, "ls-files", "-z").split("\0")):
        if (CHECKOUT / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, root / name, follow_symlinks=False)
    git(root, "add", "--all", "--force")
    git(root, "commit", "--quiet", "--allow-empty", "-m", "The present state")
    return start or git(root, "rev-parse", "HEAD").strip()


def add_later_version(root: Path) -> None:
    """What any later version may have: a migration, and changes in files that the project has changed too."""
    service = root / "services" / "content"
    name = revisions.choose_name(service, is_own_project=False)
    (newest,) = revisions.find_heads(revisions.read(service))
    file = service / "migrations" / "versions" / f"2026_12_01_{name}_fill.py"
    file.write_text(MIGRATION.format(name=name, follows=newest))
    for page, line in {"docs/audit.md": -1, "docs/nats.md": 0, "docs/webhooks.md": -1}.items():
        change_line(root / page, line, "Of a later version.")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "A later version")


def change_line(file: Path, number: int, text: str) -> None:
    lines = file.read_text("utf-8").splitlines()
    lines[number] = text
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_project(root: Path, platform: Path, start: str) -> Clone:
    """A project of that commit, installed."""
    new = ("new", "Acme", "--from", str(platform), "--ref", start, "--to", str(root))
    run(root.parent, str(CHECKOUT / ".venv/bin/kpi"), *new)
    # What need not be downloaded again.
    if (CHECKOUT / ".kpi/tools").is_dir():
        shutil.copytree(CHECKOUT / ".kpi/tools", root / ".kpi/tools", symlinks=True)
    project = Clone(root)
    project.run("make", "-s", "install")
    return project


def test_a_project_that_has_gone_on_takes_a_later_version_in(folder: Path) -> None:
    platform = folder / "platform"
    start = make_platform(platform, find_start())
    acme = make_project(folder / "acme", platform, start)
    acme.kpi("make", "resource", *PRODUCT.arguments)
    change_line(acme.root / "docs/audit.md", 0, "# What is recorded in Acme")
    change_line(acme.root / "docs/nats.md", 0, "# NATS in Acme")
    (acme.root / "docs/webhooks.md").unlink()
    acme.commit("Products")

    add_later_version(platform)
    shown = run(acme.root, ".venv/bin/kpi", "upgrade", code=1)
    assert "docs/nats.md:1: changed on both sides" in shown
    assert "docs/webhooks.md: it stays deleted here" in shown
    assert "it now follows c501" in shown
    decide_for_both(acme)
    audit = (acme.root / "docs/audit.md").read_text("utf-8")
    assert audit.startswith("# What is recorded in Acme\n")
    assert audit.endswith("\nOf a later version.\n")

    acme.run("make", "-s", "install")
    # Both sides have changed it, and it is made from the code.
    acme.kpi("openapi", "docs/openapi.json")
    tests = f"services/{PRODUCT.service}/tests"
    acme.check(PRODUCT.service, f"{tests}/{PRODUCT.plural}", f"{tests}/test_surface.py", is_whole=True)


def decide_for_both(project: Clone) -> None:
    """Keep the lines of both sides at each conflict, as a developer would do with entries of a list."""
    for name in project.run("git", "diff", "--name-only", "--diff-filter=U").splitlines():
        file = project.root / name
        lines = file.read_text("utf-8").splitlines(keepends=True)
        file.write_text("".join(line for line in lines if not line.startswith(("<<<<<<< ", "=======\n", ">>>>>>> "))))
    project.run("git", "add", "--all")
    project.run("git", "-c", "core.editor=true", "cherry-pick", "--continue")
