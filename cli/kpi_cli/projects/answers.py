"""What a project was made from: the file that Copier keeps too, so that both can read it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from kpi_cli.errors import FailureError
from kpi_cli.layout import ANSWERS
from kpi_cli.projects.extras import Extra

_HEAD = "# What this project was made from; kpi upgrade reads and writes it.\n"


@dataclass(frozen=True)
class Answers:
    """The name, as it was typed, where the project came from, and what it has beside the platform."""

    name: str
    source: str
    commit: str
    extras: frozenset[Extra]

    @property
    def slug(self) -> str:
        """The name for packages, images and folders."""
        return self.name.lower()

    def at(self, *, source: str, commit: str, extras: frozenset[Extra]) -> "Answers":
        """The same project at another commit, with further extras."""
        return replace(self, source=source, commit=commit, extras=self.extras | extras)

    def data(self) -> dict[str, object]:
        """The answers to the questions of copier.yml."""
        return {"name": self.name} | {extra.value.replace("-", "_"): extra in self.extras for extra in Extra}

    def text(self) -> str:
        """The content of the file."""
        values = {"_commit": self.commit, "_src_path": self.source, **self.data()}
        return f"{_HEAD}{yaml.safe_dump(values, sort_keys=False)}"


def parse(text: str) -> Answers:
    """Read the file's content; raises FailureError when it does not say all that is needed."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    values = found if isinstance(found, Mapping) else {}
    texts = [value for name in ("name", "_src_path", "_commit") if isinstance(value := values.get(name), str) and value]
    if len(texts) < 3:  # noqa: PLR2004 - the three of the line above
        sentence = f"{ANSWERS} does not say what the project was made from"
        raise FailureError("upgrade", sentence, fix=f"git checkout HEAD -- {ANSWERS}")
    name, source, commit = texts
    extras = frozenset(extra for extra in Extra if values.get(extra.value.replace("-", "_")) is True)
    return Answers(name, source, commit, extras)


def read(checkout: Path) -> Answers:
    """The answers of a project; raises FailureError for a checkout that ``kpi new`` has not made."""
    try:
        return parse((checkout / ANSWERS).read_text("utf-8"))
    except FileNotFoundError as error:
        raise FailureError(
            "upgrade",
            f"{checkout} was not made by kpi new: it has no {ANSWERS}",
            fix="git pull, in a clone of the platform",
        ) from error
