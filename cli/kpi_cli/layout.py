"""The folders and files of a checkout, and of the state that its stack keeps there."""

import os
from dataclasses import dataclass
from pathlib import Path

# What kpi new writes into a project of one's own; Copier reads it too.
ANSWERS = ".copier-answers.yml"


@dataclass(frozen=True)
class Layout:
    """One checkout's folders and files; ``home`` is its ``.kpi`` unless KPI_HOME names another folder."""

    checkout: Path
    home: Path

    @property
    def secrets(self) -> Path:
        return self.home / "secrets"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def data(self) -> Path:
        return self.home / "postgres"

    @property
    def mails(self) -> Path:
        return self.home / "mails"

    @property
    def state(self) -> Path:
        return self.home / "state.json"

    @property
    def ports(self) -> Path:
        return self.home / "ports.json"

    @property
    def migrations(self) -> Path:
        return self.home / "migrations.json"

    @property
    def restarts(self) -> Path:
        return self.home / "restarts.json"

    @property
    def sample_data(self) -> Path:
        """The posts of ``kpi load``, which a project of one's own need not have."""
        return self.checkout / "data" / "hacker_news.jsonl.gz"

    @property
    def answers(self) -> Path:
        """A checkout that has it is a project of one's own, not the platform."""
        return self.checkout / ANSWERS

    @property
    def lock(self) -> Path:
        return self.home / "lock"

    def shorten(self, path: Path) -> str:
        """A path for a message: relative when it is below the current folder."""
        here = Path.cwd()
        return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def find() -> Layout:
    """The layout of this checkout; an installed wheel has none, and uses the current folder."""
    source = Path(__file__).resolve().parents[2]
    checkout = source if (source / "services").is_dir() else Path.cwd()
    home = os.environ.get("KPI_HOME")
    return Layout(checkout=checkout, home=Path(home).resolve() if home else checkout / ".kpi")
