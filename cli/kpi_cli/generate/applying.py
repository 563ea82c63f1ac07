"""Carries out a plan: in a copy of the checkout first, and in the checkout if all of it has worked there."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from kpi_cli.errors import KPI, FailureError
from kpi_cli.generate import local_stack, records, scratch, showing, writing
from kpi_cli.generate.changes import Change, Edit, NewFile, Plan
from kpi_cli.generate.editing import AnchorError
from kpi_cli.generate.scratch import File
from kpi_cli.layout import Layout

# More files of a noun than these were hardly made by the same command.
_FEW = 3


def run_plan(layout: Layout, plan: Plan, *, dry_run: bool, force: bool, as_json: bool) -> bool:
    """Make what the plan says, or show it; false if everything is there already.

    Whatever fails, the checkout stays as it was. ``force``: overwrite files that exist with other contents.
    """
    began = time.monotonic()
    paths = _paths(plan.changes)
    for path in paths:
        scratch.locate(layout.checkout, path)
    # Files that git ignores are overwritten with ``force`` only, too.
    with records.hold(layout), scratch.copy(layout.checkout, paths) as root:
        before = scratch.hash_files(root)
        carry_out(root, plan, force=force)
        files, was = compare(layout.checkout, scratch.find_changes(root, before), before)
        shown = showing.as_json(layout.checkout, plan.title, files, with_diff=dry_run)
        if dry_run and files and not as_json:
            showing.print_preview(Console(), layout.checkout, files)
        if files and not dry_run:
            path, record = records.create(layout, plan.title, files)
            writing.replace_files(layout.checkout, records.journal(layout), {**files, path: record}, was=was)
    notes = [*plan.notes]
    if files and not dry_run:
        notes[:0] = local_stack.take_up(layout, files) or ["make up starts the stack with it"]
    took = round(time.monotonic() - began, 1)
    if as_json:
        print(json.dumps(shown | {"notes": notes, "seconds": took}))
    elif not (dry_run and files):
        _report(plan.title, shown["files"], notes, took)
    return bool(files)


def compare(
    checkout: Path, found: Mapping[str, File], before: Mapping[str, str]
) -> tuple[dict[str, File], dict[str, str | None]]:
    """What is to be written, without what is there already; and the hashes of what it replaces."""
    files = {path: file for path, file in found.items() if file != scratch.read(scratch.locate(checkout, path))}
    was = {path: before.get(path) for path in files}
    writing.refuse_changed(checkout, was)
    return files, was


def carry_out(root: Path, plan: Plan, *, force: bool = False) -> None:
    """Make what the plan says in ``root``, a copy of the checkout, in which other plans may have been made before."""
    before = scratch.hash_files(root)
    news = _paths([change for change in plan.changes if isinstance(change, NewFile)])
    there = {path: scratch.read(root / path) for path in news}
    make(root, plan)
    format_code(root, _paths(plan.changes))
    if not force:
        _refuse_others(root, plan, there)
    for step in plan.steps:
        step(root)
    made = scratch.find_changes(root, before).keys() - set(_paths(plan.changes))
    format_code(root, sorted(made))


def make(root: Path, plan: Plan) -> None:
    """The changes of the plan alone, without its steps."""
    for change in plan.changes:
        _make(root, change)


def _paths(changes: Sequence[Change]) -> list[str]:
    return list(dict.fromkeys(change.path for change in changes))


def _make(root: Path, change: Change) -> None:
    path = scratch.locate(root, change.path)
    if isinstance(change, NewFile):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(change.text, encoding="utf-8")
        path.chmod(0o755 if change.is_executable else 0o644)
        return
    if not path.is_file():
        raise FailureError("make", f"{change.path} does not exist, and would have to be changed")
    try:
        path.write_text(change.change(path.read_text(encoding="utf-8")), encoding="utf-8")
    except AnchorError as error:
        raise FailureError("make", f"{change.path} cannot be changed: there is {error}") from error


def format_code(root: Path, paths: Sequence[str]) -> None:
    """Bring the Python files among these into the form of the house."""
    names = [path for path in paths if path.endswith(".py") and (root / path).exists()]
    if names:
        _run_ruff(root, "check", "--fix", "--exit-zero", *names)
        _run_ruff(root, "format", *names)


def _run_ruff(root: Path, command: str, *arguments: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "ruff", command, "--quiet", "--no-cache", *arguments],
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if result.returncode:
        log = result.stderr.splitlines()[-10:]
        raise FailureError("make", "the new code could not be brought into its form", log=log)


def _refuse_others(root: Path, plan: Plan, there: Mapping[str, File | None]) -> None:
    """Refuse to overwrite files that the developer has, or has changed."""
    edited = {change.path for change in plan.changes if isinstance(change, Edit)}
    found = [
        path
        for path, file in there.items()
        if file is not None and path not in edited and file != scratch.read(root / path)
    ]
    if len(found) > _FEW and plan.noun:
        raise FailureError(
            "make",
            f"the name is taken by {plan.noun}, which has other fields or was changed since",
            fix="choose another name; --dry-run --force shows what would be overwritten",
        )
    if found:
        raise FailureError(
            "make",
            f"{writing.join(found)} {'exists' if len(found) == 1 else 'exist'} with other contents",
            fix="--dry-run --force shows the difference, and --force overwrites",
        )


def _report(title: str, rows: Sequence[Mapping[str, str]], notes: Sequence[str], took: float) -> None:
    if not rows:
        print(f"kpi: {title}: everything is there already, and nothing was changed")
        return
    print(f"kpi: made {title} in {took} s")
    for row in rows:
        print(f"  {row['change']:8}{row['path']}")
    for note in (*notes, f"take it back: {KPI} make undo"):
        print(f"  {note}")


def undo(layout: Layout, *, as_json: bool) -> None:
    """Take the last command back, if its files are as it left them."""
    with records.hold(layout):
        record = records.newest(layout)
        if record is None:
            raise FailureError("make", "there is nothing to take back")
        if changed := records.find_changed(layout, record):
            raise FailureError(
                "make",
                f"{writing.join(changed)} {'has' if len(changed) == 1 else 'have'} changed"
                f" since {record.title} was made",
                fix="restore what was written, or remove it by hand",
            )
        made = [path for path, was in record.before.items() if was is None]
        local_stack.refuse_later_migrations(layout, made)
        notes = local_stack.give_up(layout, made)
        files = {**record.before, str(record.path): None}
        try:
            writing.replace_files(
                layout.checkout, records.journal(layout), files, was=record.after, emptied=record.folders
            )
        except (FailureError, OSError):
            # The code stays, and needs the tables that were given up.
            local_stack.take_up(layout, record.before)
            raise
    notes += local_stack.take_up(layout, record.before)
    if as_json:
        rows = [{"path": path, "change": "removed" if path in made else "restored"} for path in record.before]
        print(json.dumps({"title": record.title, "files": rows, "notes": notes}))
        return
    print(f"kpi: took back {record.title}: {_count(len(made), len(record.before) - len(made))}")
    for note in notes:
        print(f"  {note}")


def _count(removed: int, restored: int) -> str:
    counts = {"removed": removed, "as before": restored}
    return ", ".join(f"{number} file{'' if number == 1 else 's'} {done}" for done, number in counts.items() if number)
