"""Folders below a root, opened name by name, so that no symbolic link in the way is followed, not even a new one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kpi_kit.storage.errors import StorageRefusedError
from kpi_kit.storage.paths import MOST_NAMES

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def open_folder(root: Path, path: str) -> Iterator[int]:
    """The descriptor of a folder. The root itself may be a link: it is the operator's."""
    yield from _descend(root, path, is_made=False)


@contextmanager
def make_folder(root: Path, path: str) -> Iterator[int]:
    """As ``open_folder``; what is missing is made, for this user alone."""
    with suppress(FileExistsError):
        root.mkdir(parents=True, mode=0o700)
    yield from _descend(root, path, is_made=True)


def _descend(root: Path, path: str, *, is_made: bool) -> Iterator[int]:
    folder = _open_root(root)
    try:
        for name in path.split("/") if path else ():
            if is_made:
                _make(name, folder)
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _open_root(root: Path) -> int:
    """No call finds anything there if it is no folder, so that this is not taken for a file that is not there."""
    try:
        return os.open(root, _FOLDER)
    except NotADirectoryError as error:
        raise StorageRefusedError(error.strerror or "") from None


def _make(name: str, folder: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
        os.fsync(folder)


def remove_empty(name: str, folder: int) -> None:
    """Remove a folder that has only empty folders, which files that were deleted have left; OSError otherwise."""
    inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    try:
        with os.scandir(inner) as entries:
            names = [entry.name for entry in entries]
        for each in names:
            remove_empty(each, inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)


def walk(folder: int, start: str, after: str) -> Iterator[tuple[str, os.stat_result]]:
    """The regular files below a folder with the paths that begin with ``start``, in the order of the paths' bytes.

    What is removed meanwhile is left out. Only folders that can have a path greater than ``after`` are opened.
    """
    for name, is_folder in _sort(folder):
        path = f"{start}{name}"
        if is_folder:
            # A path has no more names, and this calls itself for each.
            if path.count("/") < MOST_NAMES - 1 and (f"{path}/" > after or after.startswith(f"{path}/")):
                yield from _walk_into(folder, name, f"{path}/", after)
        elif path > after:
            with suppress(FileNotFoundError):
                yield path, os.stat(name, dir_fd=folder, follow_symlinks=False)


def _walk_into(folder: int, name: str, start: str, after: str) -> Iterator[tuple[str, os.stat_result]]:
    with suppress(FileNotFoundError, NotADirectoryError):
        inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        try:
            yield from walk(inner, start, after)
        finally:
            os.close(inner)


def _sort(folder: int) -> list[tuple[str, bool]]:
    """Files and folders; a folder stands where its slash puts it. Names that are no text cannot be in a path."""
    with os.scandir(folder) as entries:
        found = [
            (entry.name, entry.is_dir(follow_symlinks=False))
            for entry in entries
            if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)
        ]
    named = [(name, is_folder) for name, is_folder in found if name.isprintable() and not name.startswith(".")]
    return sorted(named, key=lambda item: (item[0] + "/" * item[1]).encode())
