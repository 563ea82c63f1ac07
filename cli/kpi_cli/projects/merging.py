"""A three-way merge by git's own cherry-pick, which can be continued and aborted, and whose conflicts git shows."""

from dataclasses import dataclass
from pathlib import Path

from kpi_cli.projects import git

# Made from the code by the command that is named: what is in them is not decided by hand.
MADE_BY = {
    "docs/commands.md": "kpi docs --write docs/commands.md",
    "docs/openapi.json": "kpi openapi docs/openapi.json",
}
_OURS, _THEIRS = "2", "3"


@dataclass(frozen=True)
class Conflict:
    """A place to decide on; ``line`` is None where the file as a whole is in question."""

    file: str
    line: int | None
    reason: str


@dataclass(frozen=True)
class Merge:
    """What git could not merge alone; ``is_stopped``: it waits for a decision or a commit."""

    is_stopped: bool
    conflicts: tuple[Conflict, ...]
    # Deleted here and changed by the platform: they stay deleted.
    kept_deleted: tuple[str, ...]
    # To be made again, by the command in MADE_BY.
    outdated: tuple[str, ...]


def pick(folder: Path, commit: str) -> Merge:
    """Apply a commit's change to what is checked out; the conflicts are left in the files."""
    words = ("cherry-pick", "--allow-empty", "--keep-redundant-commits", commit)
    settings = ("-c", "merge.renames=true", "-c", "rerere.enabled=false")
    result = git.attempt(folder, *git.identity(folder), *settings, *words)
    stages = _unmerged(folder)
    if result.returncode and not stages:
        git.attempt(folder, "cherry-pick", "--abort")
        raise git.fail(result)
    kept = tuple(file for file, found in stages.items() if found.keys() == {"1", _THEIRS})
    outdated = tuple(file for file, found in stages.items() if file in MADE_BY and file not in kept)
    for file in kept:
        git.run(folder, "rm", "--quiet", "--force", "--", file)
    for file in outdated:
        # Valid as it is, though without what came in.
        git.run(folder, "checkout", "--ours", "--", file)
        git.run(folder, "add", "--", file)
    left = {file: found for file, found in stages.items() if file not in {*kept, *outdated}}
    conflicts = [conflict for file, found in left.items() for conflict in _describe(folder, file, set(found))]
    return Merge(result.returncode != 0, tuple(conflicts), kept, outdated)


def _unmerged(folder: Path) -> dict[str, dict[str, str]]:
    """The files in conflict, with the hash of each stage: 1 is the common one, 2 ours, 3 theirs."""
    found: dict[str, dict[str, str]] = {}
    for line in git.list_names(folder, "ls-files", "--unmerged"):
        about, name = line.split("\t", 1)
        _, content, stage = about.split()
        found.setdefault(name, {})[stage] = content
    return found


def _describe(folder: Path, file: str, stages: set[str]) -> list[Conflict]:
    if not stages & {_OURS, _THEIRS}:
        return [Conflict(file, None, "renamed on both sides")]
    if _THEIRS not in stages:
        return [Conflict(file, None, "changed here, and removed or renamed by the platform")]
    if _OURS not in stages:
        return [Conflict(file, None, "added by the platform where a folder was renamed here")]
    content = (folder / file).read_bytes()
    lines = [number for number, line in enumerate(content.splitlines(), 1) if line.startswith(b"<<<<<<< ")]
    if not lines:
        return [Conflict(file, None, "changed on both sides, and not a text")]
    return [Conflict(file, line, "changed on both sides") for line in lines]
