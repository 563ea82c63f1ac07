"""Changes several files at once: all or none, also when the disk is full or the process is killed.

New contents, and copies of what they replace, are written beside the files first. Then each file is renamed into its
place while signals wait. A journal says how far that has come, so that the next command can complete it or take it back
if the process is killed.
"""

import json
import re
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from kpi_cli.errors import FailureError
from kpi_cli.generate.scratch import File, locate, read

_DRAFT, _KEPT = ".kpi-draft", ".kpi-kept"
# The records of the commands are beside the journal.
_RECORD = re.compile(r"\d+\.json")
_WAITING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class _Phase(StrEnum):
    # Drafts and copies are being written, and no file has changed.
    PREPARING = "preparing"
    # All drafts and copies are complete, and some files have changed.
    REPLACING = "replacing"
    # All files have changed, and some copies may be left.
    CLEANING = "cleaning"


class _Journal(NamedTuple):
    phase: _Phase
    files: tuple[str, ...]
    existing: tuple[str, ...]
    folders: tuple[str, ...]


def replace_files(
    checkout: Path,
    journal: Path,
    files: Mapping[str, File | None],
    *,
    was: Mapping[str, str | None],
    emptied: Sequence[str] = (),
) -> None:
    """Write these files, and remove those that are None with the folders ``emptied``, where these are empty then.

    The paths of files are relative to the checkout; that of the record is absolute, beside the journal. FailureError if
    one is not as ``was`` says any more.
    """
    for name in files:
        _locate(checkout, journal, name)
    existing = [name for name in files if (checkout / name).exists()]
    kept = {"files": list(files), "existing": existing, "folders": missing_folders(checkout, files)}
    try:
        _note(journal, _Phase.PREPARING, kept)
        for name, file in files.items():
            _prepare(checkout / name, file)
        with _signals_waiting():
            # As late as can be: what is saved from here on to the renaming, microseconds later, is lost.
            refuse_changed(checkout, was)
            _note(journal, _Phase.REPLACING, kept)
            for name, file in files.items():
                _put_in_place(checkout / name, file)
            _note(journal, _Phase.CLEANING, kept)
    finally:
        with _signals_waiting():
            repair(checkout, journal)
    remove_if_empty(checkout, emptied)


def _locate(checkout: Path, journal: Path, name: str) -> Path:
    """The path of a file, where it and what is written beside it are no links; FailureError if it is elsewhere."""
    folder, inner = checkout, name
    if Path(name).parent == journal.parent and _RECORD.fullmatch(Path(name).name):
        folder, inner = journal.parent, Path(name).name
    for suffix in ("", _DRAFT, _KEPT):
        locate(folder, f"{inner}{suffix}")
    return folder / inner


def refuse_changed(checkout: Path, was: Mapping[str, str | None]) -> None:
    """FailureError if one of these files has another hash, or exists where the hash is None."""
    now = {path: read(checkout / path) for path in was}
    found = [path for path, file in now.items() if (file.hash if file else None) != was[path]]
    if not found:
        return
    fix = "run the command again"
    # If git ignores it, it is not in the copy, and the command would fail again.
    if unknown := [path for path in found if was[path] is None]:
        fix = f"move {join(unknown)} away, and {fix}"
    sentence = f"{join(found)} in the checkout {'is' if len(found) == 1 else 'are'} not as when the command began"
    raise FailureError("make", f"{sentence}, and nothing was written", fix=fix)


def join(paths: Sequence[str]) -> str:
    """The paths as words of a sentence."""
    *others, last = paths
    return f"{', '.join(others)} and {last}" if others else last


def missing_folders(checkout: Path, files: Mapping[str, object]) -> list[str]:
    """The folders, outer ones first, that these files need and that do not exist."""
    missing = {folder for name in files for folder in (checkout / name).parents if not folder.exists()}
    return [str(folder.relative_to(checkout)) for folder in sorted(missing) if folder.is_relative_to(checkout)]


def remove_if_empty(checkout: Path, folders: Sequence[str]) -> None:
    """Remove these folders, inner ones first, that hold nothing but bytecode."""
    for folder in reversed([checkout / name for name in folders]):
        if folder.is_dir() and not [path for path in folder.iterdir() if path.name != "__pycache__"]:
            shutil.rmtree(folder)


def repair(checkout: Path, journal: Path) -> bool:
    """Complete the change that the journal says is under way, or take it back; true if it was taken back."""
    if not journal.exists():
        return False
    kept = _read_journal(checkout, journal)
    for name in kept.files:
        path = checkout / name
        if kept.phase is _Phase.REPLACING:
            _take_back(path, existed=name in kept.existing)
        for suffix in (_DRAFT, _KEPT):
            _beside(path, suffix).unlink(missing_ok=True)
    if kept.phase is not _Phase.CLEANING:
        remove_if_empty(checkout, kept.folders)
    journal.unlink()
    return kept.phase is not _Phase.CLEANING


def _read_journal(checkout: Path, journal: Path) -> _Journal:
    """FailureError if it names anything else than what this module changes: it may come with a copied checkout."""
    try:
        kept = json.loads(journal.read_bytes())
        found = _Journal(_Phase(kept["phase"]), *(tuple(kept[name]) for name in ("files", "existing", "folders")))
        for name in found.files:
            _locate(checkout, journal, name)
        for name in found.folders:
            locate(checkout, name)
    except FailureError as error:
        reason = error.sentence
    except (ValueError, KeyError, TypeError):
        reason = "it is not what kpi make writes"
    else:
        return found
    raise FailureError(
        "make",
        f"{journal} cannot be used: {reason}",
        fix="remove it; git status shows what a killed kpi make may have left",
    )


def _note(journal: Path, phase: _Phase, kept: Mapping[str, list[str]]) -> None:
    draft = _beside(journal, _DRAFT)
    draft.write_text(json.dumps({"phase": phase, **kept}))
    draft.replace(journal)


def _prepare(path: Path, file: File | None) -> None:
    if path.exists():
        shutil.copy2(path, _beside(path, _KEPT))
    if file is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _beside(path, _DRAFT)
    draft.write_bytes(file.content)
    mode = path.stat().st_mode if path.exists() else draft.stat().st_mode
    draft.chmod(mode | 0o111 if file.is_executable else mode & ~0o111)


def _put_in_place(path: Path, file: File | None) -> None:
    if file is None:
        path.unlink(missing_ok=True)
    else:
        _beside(path, _DRAFT).replace(path)


def _take_back(path: Path, *, existed: bool) -> None:
    kept = _beside(path, _KEPT)
    if not existed:
        path.unlink(missing_ok=True)
    elif kept.exists():
        kept.replace(path)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")


@contextmanager
def _signals_waiting() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
