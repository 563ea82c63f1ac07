"""Runs git: what it says when it fails becomes one sentence."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kpi_cli.errors import FailureError

# Names of files are printed as they are, files are kept byte by byte, and git starts no other program: hooks are for a
# person's own commands, and a repository that is read may be another's.
_SETTINGS = ("core.quotePath=false", "core.autocrlf=false", f"core.hooksPath={os.devnull}", "core.fsmonitor=false")
_OPTIONS = tuple(word for setting in _SETTINGS for word in ("-c", setting))

# A hook that runs this command has them set, and they would lead every git here to that hook's repository.
_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")


def run(folder: Path, *words: str, given: str | None = None, index: Path | None = None) -> str:
    """What git prints for a command in that folder; raises FailureError when it fails."""
    result = attempt(folder, *words, given=given, index=index)
    if result.returncode:
        raise fail(result)
    return result.stdout


def attempt(
    folder: Path, *words: str, given: str | None = None, index: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run git, whether it fails or not. ``index``: use this file as the index."""
    program = shutil.which("git")
    if program is None:
        raise FailureError("git", "git is not installed", fix="sudo apt-get install git, or its equivalent")
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK} | {"LC_ALL": "C.UTF-8"}
    if index is not None:
        environment["GIT_INDEX_FILE"] = str(index)
    command = [program, "-C", str(folder), *_OPTIONS, *words]
    return subprocess.run(
        command,
        env=environment,
        input=given,
        stdin=None if given is not None else subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )


def fail(result: "subprocess.CompletedProcess[str]", fix: str = "") -> FailureError:
    """The failure of a git command that has failed, with the last lines of its output."""
    words = result.args[3:]
    while words[0].startswith("-"):
        words = words[2:] if words[0] == "-c" else words[1:]
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
    return FailureError("git", f"git {words[0]} ended with exit code {result.returncode}", log=lines[-5:], fix=fix)


def identity(folder: Path) -> Sequence[str]:
    """Options that name an author where git knows none, as on a new machine."""
    if attempt(folder, "var", "GIT_COMMITTER_IDENT").returncode == 0:
        return ()
    name = getpass.getuser()
    return ("-c", f"user.name={name}", "-c", f"user.email={name}@localhost")


def write_tree(folder: Path, files: Path, index: Path) -> str:
    """Store files in the repository of ``folder``, and return the tree's hash; what is checked out is not touched."""
    index.unlink(missing_ok=True)
    run(folder, f"--work-tree={files}", "add", "--all", "--force", ".", index=index)
    return run(folder, "write-tree", index=index).strip()


def list_names(folder: Path, *words: str) -> list[str]:
    """The names that a command prints with ``-z``."""
    return [name for name in run(folder, *words, "-z").split("\0") if name]
