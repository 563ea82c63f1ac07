"""A copy of the checkout in which a plan is tried: what fails there has changed nothing."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kpi_cli.errors import FailureError

# Of a checkout without git, such as an unpacked archive; caches are in no checkout of git.
_IGNORED = {".git", ".kpi", ".venv", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
_CACHES = {"__pycache__", ".ruff_cache", ".mypy_cache", ".pytest_cache", ".import_linter_cache", ".hypothesis"}

_PACKAGES = ("shared/kpi_shared", "services/*/kpi_*", "gateway/kpi_gateway", "cli/kpi_cli")
# What a program needs of the user's environment.
_KEPT = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "TEST_DATABASE_URL"}


@dataclass(frozen=True)
class File:
    """A file as it is at one moment."""

    content: bytes
    is_executable: bool = False

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.content + (b"x" if self.is_executable else b"-")).hexdigest()


def read(path: Path) -> File | None:
    """The file, or None where there is none."""
    try:
        return File(path.read_bytes(), bool(path.stat().st_mode & 0o100))
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def copy(checkout: Path, also: Iterable[str] = ()) -> Iterator[Path]:
    """A temporary folder with all files of the checkout that git has or would add, and those in ``also``."""
    with tempfile.TemporaryDirectory(prefix="kpi-make-", ignore_cleanup_errors=True) as name:
        root = Path(name).resolve() / checkout.name
        root.mkdir()
        paths = sorted({*list_files(checkout), *also})
        links = [path for path in paths if (checkout / path).is_symlink()]
        # A deleted file is listed until its deletion is committed; a submodule is listed as a file.
        for path in [path for path in paths if path not in links and (checkout / path).is_file()]:
            _copy_file(checkout / path, root / path)
        for path in links:
            _copy_link(checkout / path, root / path, root)
        _copy_bytecode(checkout, root)
        yield root


def locate(root: Path, path: str) -> Path:
    """The file of that path in a folder; FailureError if it is outside, or a link leads to it.

    A link may lead out of the checkout, where ``kpi make`` changes nothing.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise FailureError("make", f"{path or 'an empty path'} is not in the checkout, and nothing was written there")
    for each in reversed([pure, *pure.parents]):
        if each.parts and (root / each).is_symlink():
            raise FailureError(
                "make",
                f"{each} is a symbolic link, and nothing is written through one",
                fix=f"replace {each} by what it leads to",
            )
    return root / pure


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _copy_link(source: Path, target: Path, root: Path) -> None:
    """The link if it stays in the copy; else the file that it leads to, lest a step writes there."""
    if target.exists():
        # Git lists the files that were in a folder before a link took its place.
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)
    if not target.resolve().is_relative_to(root):
        target.unlink()
        if source.is_file():
            shutil.copy2(source, target)


def _copy_bytecode(checkout: Path, root: Path) -> None:
    """Python takes it if the times of the sources are the same, and need not compile a thousand modules."""
    for folder in _PACKAGES:
        for source in checkout.glob(f"{folder}/**/__pycache__"):
            target = root / source.relative_to(checkout)
            if target.parent.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)


def list_files(checkout: Path) -> list[str]:
    """The files of a checkout, relative to it, without those that git ignores."""
    command = ["git", "-C", str(checkout), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    # A hook of git sets variables that name its repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        result = subprocess.run(command, env=environment, capture_output=True, check=False)
    except FileNotFoundError:
        return sorted(_walk(checkout, _IGNORED))
    if result.returncode:
        return sorted(_walk(checkout, _IGNORED))
    return sorted(set(os.fsdecode(result.stdout).split("\0")) - {""})


def hash_files(root: Path) -> dict[str, str]:
    """The state of a copy, from which ``find_changes`` tells later what was done there."""
    return {path: file.hash for path, file in _read_all(root)}


def find_changes(root: Path, before: Mapping[str, str]) -> dict[str, File]:
    """The files of the copy that are new or have changed since.

    The checkout is not compared: what its developer saves there meanwhile is no change of the copy.
    """
    return {path: file for path, file in _read_all(root) if file.hash != before.get(path)}


def _read_all(root: Path) -> Iterator[tuple[str, File]]:
    for path in sorted(_walk(root, _CACHES)):
        if not (root / path).is_symlink() and (file := read(root / path)):
            yield path, file


def _walk(root: Path, ignored: set[str]) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in ignored]
        yield from ((Path(folder) / name).relative_to(root).as_posix() for name in names)


def environment(root: Path) -> Mapping[str, str]:
    """The environment of a Python program that imports the packages of this copy, without the settings of the user.

    The bytecode that it writes goes with the copy.
    """
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")}
    folders = [path for path in (root / "services").glob("*") if path.is_dir()]
    folders += [root / name for name in ("shared", "gateway", "cli")]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "PYTHONUTF8": "1",
    }
