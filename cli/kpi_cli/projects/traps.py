"""What no source of projects has: files that lead outside of it, and files that git would take as its own."""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

from kpi_cli.errors import FailureError

# What of a copier.yml has an effect: its other entries run commands, load code, or read and write files elsewhere.
_ENTRIES = {"_min_copier_version", "_exclude", "_names"}
# A path, which may depend on one of the questions.
_EXCLUDED = re.compile(r"(?:\{% if not \w+ %\})?/?[\w.][\w./-]*(?:\{% endif %\})?", re.ASCII)
# Copier fills in the names of files too, and so could make any name of them.
_TEMPLATES = ("{{", "{%", "{#", "[[")
# The folder of a repository, and the name that it has for old programs under Windows.
_REPOSITORY = {".git", "git~1"}


def refuse_entries(template: Mapping[str, object]) -> None:
    """Refuse a copier.yml that wants more than to be copied; nothing of a source is run."""
    if unknown := [str(name) for name in template if str(name).startswith("_") and name not in _ENTRIES]:
        raise FailureError(
            "source",
            f"its copier.yml has {', '.join(unknown)}, and only {', '.join(sorted(_ENTRIES))} are accepted, "
            "so that none of a source is run",
            fix="choose another --from, or read that file and remove these entries",
        )
    excluded = template.get("_exclude", [])
    if not isinstance(excluded, list):
        raise FailureError("source", "the _exclude of its copier.yml is no list of paths")
    for text in excluded:
        if not isinstance(text, str) or not _EXCLUDED.fullmatch(text):
            raise FailureError("source", f"its copier.yml excludes {text!r}, which is no path")


def refuse_files(root: Path) -> None:
    """Refuse files that would be written, or read, at another place than where they seem to be."""
    for path in _walk(root):
        name = path.relative_to(root)
        if any(sign in path.name for sign in _TEMPLATES):
            raise FailureError("source", f"the name of its file {name} is a template")
        if _is_repository(path.name):
            raise FailureError("source", f"its file {name} would belong to git's own folder")
        if path.is_symlink() and _leads_out(path, root):
            raise FailureError("source", f"its symbolic link {name} leads out of the project")


def replace(file: Path, content: bytes) -> None:
    """Write a file at this place, and nowhere else if there is a symbolic link."""
    file.unlink(missing_ok=True)
    with file.open("xb") as stream:
        stream.write(content)


def _walk(root: Path) -> Iterator[Path]:
    """Everything below it; symbolic links are named and not followed."""
    for folder, folders, files in os.walk(root):
        yield from (Path(folder) / name for name in (*folders, *files))


def _is_repository(name: str) -> bool:
    """Also in the forms that file systems of other machines take for the same name."""
    visible = "".join(sign for sign in name if unicodedata.category(sign) != "Cf")
    return visible.partition(":")[0].rstrip(". ").casefold() in _REPOSITORY


def _leads_out(link: Path, root: Path) -> bool:
    try:
        return link.readlink().is_absolute() or not link.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        # It leads to itself.
        return True
