"""What ``kpi upgrade`` says of its result."""

from kpi_cli.projects import printing
from kpi_cli.projects.merging import MADE_BY, Conflict
from kpi_cli.projects.upgrading import Upgrade

_LETTERS = {"A": "new", "M": "changed", "D": "removed", "T": "changed"}


def facts(done: Upgrade | None, *, dry_run: bool) -> dict[str, object]:
    """The result as values for JSON."""
    if done is None:
        return {"upgraded": False, "conflicts": []}
    return {
        # With conflicts it waits for their decision.
        "upgraded": not dry_run and not done.conflicts,
        "from": done.before,
        "to": done.after,
        "commits": done.commits,
        "changes": [{"file": file, "change": _LETTERS[letter]} for letter, file in done.changes],
        "conflicts": [{"file": found.file, "line": found.line, "reason": found.reason} for found in done.conflicts],
        "kept_deleted": list(done.merge.kept_deleted),
        "outdated": list(done.merge.outdated),
        "migrations": [{"file": str(moved.file), "follows": moved.follows} for moved in done.moved],
        "back": None if dry_run else _way_back(done),
    }


def lines(done: Upgrade | None, *, dry_run: bool) -> list[str]:
    """The result for a terminal."""
    return [printing.clean(line) for line in _lines(done, dry_run=dry_run)]


def _lines(done: Upgrade | None, *, dry_run: bool) -> list[str]:
    if done is None:
        return ["kpi: the project is up to date"]
    counts = [f"{sum(word == _LETTERS[x] for x, _ in done.changes)} {word}" for word in ("new", "changed", "removed")]
    verb = "would merge" if dry_run else "merged"
    return [
        f"kpi: {verb} {done.after} of the platform into the project, which had {done.before}:",
        f"  {_count(done.commits, 'commit')}; files: {', '.join(counts)}",
        *(f"  {letter} {file}" for letter, file in done.changes if dry_run),
        *(f"  {file}: it stays deleted here, and the platform has changed it" for file in done.merge.kept_deleted),
        *(f"  {file}: both have changed it; make it again: .venv/bin/{MADE_BY[file]}" for file in done.merge.outdated),
        *(f"  {moved.file}: it now follows {moved.follows}, the project's newest migration" for moved in done.moved),
        *_conflict_lines(done),
        *([] if dry_run else _next_steps(done)),
    ]


def _conflict_lines(done: Upgrade) -> list[str]:
    if not done.conflicts:
        return ["No conflicts."]
    return [f"{_count(len(done.conflicts), 'conflict')}:", *(f"  {_describe(found)}" for found in done.conflicts)]


def _describe(conflict: Conflict) -> str:
    place = conflict.file if conflict.line is None else f"{conflict.file}:{conflict.line}"
    return f"{place}: {conflict.reason}"


def _next_steps(done: Upgrade) -> list[str]:
    if done.merge.is_stopped and done.conflicts:
        forward = "decide each of them, then git add -A && git cherry-pick --continue"
    elif done.conflicts:
        forward = "decide each of them, then git commit -a"
    else:
        forward = "make check && make test"
    return [f"Go on:    {forward}", f"Go back:  {_way_back(done)}"]


def _way_back(done: Upgrade) -> str:
    if done.merge.is_stopped and done.conflicts:
        return "git cherry-pick --abort"
    return f"git reset --hard {done.former[:12]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
