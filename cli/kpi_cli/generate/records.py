"""What the commands of ``kpi make`` have done to the checkout, the newest last: ``kpi make undo`` takes it back."""

import fcntl
import json
import re
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kpi_cli.errors import KPI, FailureError
from kpi_cli.generate import writing
from kpi_cli.generate.scratch import File, locate, read
from kpi_cli.layout import Layout


@dataclass(frozen=True)
class Record:
    """One command. ``before`` has None for a file that it made, and ``after`` the hash of what it wrote."""

    path: Path
    title: str
    before: Mapping[str, File | None]
    after: Mapping[str, str]
    folders: tuple[str, ...]


def folder(layout: Layout) -> Path:
    return layout.home / "made"


def journal(layout: Layout) -> Path:
    return folder(layout) / "journal.json"


@contextmanager
def hold(layout: Layout) -> Iterator[None]:
    """Be the only command that changes this checkout, and repair what a killed one has left."""
    folder(layout).mkdir(parents=True, exist_ok=True)
    with (folder(layout) / "lock").open("a") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FailureError(
                "make", "another kpi make is at work in this checkout", fix="wait until it has finished"
            ) from None
        if writing.repair(layout.checkout, journal(layout)):
            # Standard output may be JSON. This is done, and said, with --dry-run too: a plan needs a whole checkout.
            print(
                "kpi: the last kpi make was killed half-way; what it had changed has been taken back", file=sys.stderr
            )
        yield


def newest(layout: Layout) -> Record | None:
    """The command that is taken back next."""
    paths = _paths(layout)
    return _load(layout, paths[-1]) if paths else None


def count(layout: Layout) -> int:
    """How many commands can be taken back."""
    return len(_paths(layout))


def find_changed(layout: Layout, record: Record) -> list[str]:
    """The files that are no longer as the command left them."""
    now = {path: read(layout.checkout / path) for path in record.after}
    return [path for path, file in now.items() if file is None or file.hash != record.after[path]]


def create(layout: Layout, title: str, files: Mapping[str, File]) -> tuple[str, File]:
    """The path and the contents of the record of a change that is about to be made."""
    paths = _paths(layout)
    number = int(paths[-1].stem) + 1 if paths else 1
    before = {path: _encode(read(layout.checkout / path)) for path in files}
    kept = {
        "title": title,
        "before": before,
        "after": {path: file.hash for path, file in files.items()},
        "folders": writing.missing_folders(layout.checkout, files),
    }
    return str(folder(layout) / f"{number:04}.json"), File(f"{json.dumps(kept, indent=1)}\n".encode())


def _paths(layout: Layout) -> list[Path]:
    return sorted(path for path in folder(layout).glob("*.json") if re.fullmatch(r"\d+", path.stem))


def _load(layout: Layout, path: Path) -> Record:
    """FailureError if it is not what ``create`` writes: it may come with a copied checkout."""
    try:
        kept = json.loads(path.read_bytes())
        before = {name: _decode(file) for name, file in kept["before"].items()}
        record = Record(path, kept["title"], before, kept["after"], tuple(kept["folders"]))
        for name in (*before, *record.folders):
            locate(layout.checkout, name)
        if before.keys() == record.after.keys():
            return record
        reason = "it does not say of each file what it was and what it became"
    except FailureError as error:
        reason = error.sentence
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = "it is not what kpi make writes"
    raise FailureError(
        "make",
        f"{path} cannot be used: {reason}",
        fix=f"remove it; {KPI} make undo then takes back the command before it",
    )


def _encode(file: File | None) -> dict[str, object] | None:
    if file is None:
        return None
    return {"content": b64encode(file.content).decode(), "is_executable": file.is_executable}


def _decode(kept: dict[str, str] | None) -> File | None:
    if kept is None:
        return None
    return File(b64decode(kept["content"]), bool(kept["is_executable"]))
