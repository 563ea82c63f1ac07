"""A platform of a few files, and a project made from it, for the tests of ``kpi new`` and ``kpi upgrade``."""

import subprocess
from pathlib import Path

from kpi_cli.layout import Layout
from kpi_cli.projects import creating, upgrading
from kpi_cli.projects.extras import Extra
from kpi_cli.projects.upgrading import Upgrade

COPIER = """
_exclude:
  - /.git
  - /.copier-answers.yml
  - /README.md
  - "{% if not bench %}/bench{% endif %}"
  - "{% if not sample_data %}/data{% endif %}"
_names:
  title: Platform
  slug: platform
  places:
    copier.yml: ["  title: {title}", "  slug: {slug}"]
    pyproject.toml: ['name = "{slug}"']
    app.py: ['PRODUCT = "{title}"']
    bench/bench.py: ["of {title}"]
name: {type: str}
bench: {type: bool, default: false}
sample_data: {type: bool, default: false}
"""
APP = """PRODUCT = "Platform"

PARTS = [
    "auth",
    "content",
]


def one():
    return 1


def two():
    return 2


def three():
    return 3
"""
VERSIONS = "services/content/migrations/versions"


def migration(name: str, follows: str | None) -> str:
    down = "None" if follows is None else f'"{follows}"'
    document = f'"""what it does\n\nRevision ID: {name}\nRevises: {follows}\n"""'
    return f'{document}\n\nrevision = "{name}"\ndown_revision = {down}\n'


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


class Repository:
    """A folder with a history."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout(checkout=folder, home=folder / ".kpi")

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def replace(self, name: str, old: str, new: str) -> None:
        text = self.read(name)
        assert old in text
        self.write(name, text.replace(old, new))

    def commit(self, message: str = "change") -> str:
        git(self.folder, "add", "--all", "--force", ".")
        git(self.folder, "commit", "--quiet", "-m", message)
        return git(self.folder, "rev-parse", "HEAD").strip()

    def names(self) -> set[str]:
        return set(git(self.folder, "ls-files").splitlines())

    def status(self) -> str:
        return git(self.folder, "status", "--porcelain")


class Project(Repository):
    def upgrade(
        self,
        address: str | None = None,
        ref: str | None = None,
        *,
        dry_run: bool = False,
        extras: tuple[Extra, ...] = (),
        other_branch: bool = False,
    ) -> Upgrade | None:
        return upgrading.upgrade(
            self.layout,
            address=address,
            ref=ref,
            extras=frozenset(extras),
            dry_run=dry_run,
            other_branch=other_branch,
        )


class House(Repository):
    """The platform; its first commit is what projects are made from."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        folder.mkdir()
        git(folder, "init", "--quiet")
        self.write("copier.yml", COPIER)
        self.write("pyproject.toml", '[project]\nname = "platform"\n')
        self.write("README.md", "# Platform\n")
        self.write("app.py", APP)
        self.write("run", "#!/bin/sh\n")
        (folder / "run").chmod(0o755)
        self.write("guide.md", "".join(f"Line {number}\n" for number in range(30)))
        self.write("unused.md", "Nothing that a project needs\n")
        self.write("docs/openapi.json", '{\n  "title": "Platform",\n  "paths": {}\n}\n')
        self.write("bench/bench.py", "# The speed of Platform\n")
        self.write("data/posts.jsonl", "{}\n")
        self.write(f"{VERSIONS}/2026_11_20_c001_posts.py", migration("c001", None))
        self.commit("Begin")

    def make(
        self, name: str, folder: Path, *extras: Extra, address: str | None = None, ref: str | None = None
    ) -> Project:
        made = creating.create(self.layout, name, address=address, ref=ref, folder=folder, extras=frozenset(extras))
        return Project(made.folder)
