"""docs/kit.md as its readers use it: the commands of its example, and the files that they write."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import typer
from kpi_cli import make_commands
from kpi_cli.generate import applying
from kpi_cli.generate.pieces.planners import PLANNERS
from kpi_shared.testing.postgres import URL_VARIABLE
from kpi_shared.testing.process import clean_environment
from typer.core import TyperGroup

CHECKOUT = Path(__file__).parents[1]
SERVICE = "services/parcels"
# What the generator reads of a checkout to make a service, beside the files that all services have.
_NEEDED = (
    "cli/kpi_cli/parts.py",
    "docker-compose.yml",
    "gateway/kpi_gateway/settings.py",
    "kit/pyproject.toml",
    "pyproject.toml",
    "services/content/alembic.ini",
    "services/content/migrations/script.py.mako",
    "services/content/requirements.txt",
    "shared/pyproject.toml",
    "tests/rights.txt",
)
# A path on a line of its own, and the block below it.
_FILE = re.compile(r"^`([\w./-]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ (.+)$", re.MULTILINE)
_MAKE = [".venv/bin/kpi", "make"]


@dataclass(frozen=True)
class Page:
    """``files`` by their paths in the checkout; ``commands`` as words, in their order."""

    files: dict[str, str]
    commands: list[list[str]]

    @classmethod
    def read(cls) -> "Page":
        text = (CHECKOUT / "docs" / "kit.md").read_text(encoding="utf-8")
        return cls(dict(_FILE.findall(text)), [shlex.split(line) for line in _COMMAND.findall(text)])

    @property
    def pieces(self) -> list[list[str]]:
        """The arguments of each ``kpi make``."""
        return [words[2:] for words in self.commands if words[:2] == _MAKE]

    @property
    def following(self) -> list[list[str]]:
        """The commands from the files to the check of them."""
        return self.commands[len(self.pieces) : self.commands.index(["make", "check"]) + 1]

    def write_files(self, root: Path) -> None:
        for path, text in self.files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")


def make_example(root: Path) -> Path:
    """The folder of the example's service in ``root``, without what takes ``kpi make`` a minute.

    All its tables are in one migration, nothing is installed, and no document is written.
    """
    for name in _NEEDED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, root / name)
    page = Page.read()
    *pieces, queue = page.pieces
    for piece in pieces:
        _make(root, piece)
    page.write_files(root)
    environment = clean_environment({"PYTHONPATH": str(root / SERVICE)})
    environment[URL_VARIABLE] = os.environ[URL_VARIABLE]
    write = [sys.executable, "-m", "kpi_shared.testing.write_migration", SERVICE, "p001", "tables"]
    subprocess.run(write, cwd=root, env=environment, check=True, capture_output=True)
    _make(root, queue)
    return root / SERVICE


def _make(root: Path, words: list[str]) -> None:
    """Do what the command would do first, in this folder."""
    group = typer.main.get_command(make_commands.app)
    assert isinstance(group, TyperGroup)
    name, *arguments = words
    parameters = group.commands[name].make_context(name, arguments).params
    for option in ("dry_run", "force", "as_json"):
        parameters.pop(option, None)
    applying.make(root, PLANNERS[name](root, **parameters))
