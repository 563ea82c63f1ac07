"""The files of a new project: those of the source, by Copier, with the project's own name in them."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from copier import run_copy

from kpi_cli.errors import FailureError
from kpi_cli.layout import ANSWERS
from kpi_cli.projects import traps
from kpi_cli.projects.answers import Answers
from kpi_cli.projects.sources import Source

# Never of the source, whatever its copier.yml says: git's own folder, and what a project has of its own.
_EXCLUDED = (".git", f"/{ANSWERS}", "/README.md")


def render(source: Source, answers: Answers, target: Path) -> None:
    """Write the files of the project that ``answers`` describes to a folder that does not exist yet."""
    with tempfile.TemporaryDirectory(prefix="kpi-files-") as folder:
        files = Path(folder) / "files"
        source.checkout(answers.commit, files)
        traps.refuse_files(files)
        template = _read_template(files, source)
        try:
            run_copy(str(files), target, answers.data(), exclude=_EXCLUDED, defaults=True, quiet=True, skip_tasks=True)
        except OSError:
            raise
        except Exception as error:
            sentence = f"the copier.yml of {source.address} cannot be used: {error}"
            raise FailureError("source", sentence, fix="choose another --from or --ref") from error
    traps.refuse_files(target)
    try:
        _write_names(target, template["_names"], answers)
    except (KeyError, TypeError, AttributeError, UnicodeError) as error:
        raise FailureError("source", f"the _names in the copier.yml of {source.address} cannot be read") from error
    traps.replace(target / ANSWERS, answers.text().encode())


def _read_template(files: Path, source: Source) -> Mapping[str, Any]:
    """The source's copier.yml, if it is one that can be used without a risk."""
    try:
        template = yaml.safe_load((files / "copier.yml").read_text("utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError):
        template = None
    if not isinstance(template, Mapping) or not isinstance(template.get("_names"), Mapping):
        raise FailureError(
            "source", f"{source.version} of {source.address} is not a source of projects", fix="choose another --ref"
        )
    traps.refuse_entries(template)
    return template


def _write_names(root: Path, names: Mapping[str, Any], answers: Answers) -> None:
    """Put the project's name where the source has its own: ``places`` has the texts, file by file."""
    former = {"{title}": str(names["title"]), "{slug}": str(names["slug"])}
    own = {"{title}": answers.name, "{slug}": answers.slug}
    for name, texts in names["places"].items():
        file = root / name
        if not file.resolve().is_relative_to(root.resolve()):
            raise FailureError("source", f"its copier.yml names a file outside the project: {name}")
        if not file.is_file():
            # It belongs to what this project was not asked to have.
            continue
        content = file.read_text("utf-8")
        for text in texts:
            if _fill(text, former) not in content:
                raise FailureError("source", f"its {name} has no {_fill(text, former)}, which its copier.yml names")
            content = content.replace(_fill(text, former), _fill(text, own))
        file.write_text(content, encoding="utf-8")


def _fill(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text
