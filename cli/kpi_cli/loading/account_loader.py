"""``kpi user import``: sends the accounts of a file to the auth service, which judges all before it adds any."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from kpi_cli import parts
from kpi_cli.loading import pipe
from kpi_cli.loading.account_files import AccountFile, shorten
from kpi_cli.loading.progress import open_progress

_AUTH = parts.get_or_raise("auth")
# How auth says that it refused lines.
_LINES_REFUSED = 3
_FAILED = pipe.Failed("all accounts are stored or none", "it adds no account twice")


@dataclass(frozen=True)
class ImportOptions:
    """The options of the auth service's import."""

    dry_run: bool = False
    keep_going: bool = False
    admins: bool = False

    def to_record(self, *, lines: int) -> dict[str, object]:
        """As the first line of what auth reads, before so many lines of accounts."""
        return {"lines": lines, "dry_run": self.dry_run, "keep_going": self.keep_going, "admins": self.admins}


def import_accounts(
    environment: Mapping[str, str], file: Path, accounts: AccountFile, options: ImportOptions, *, as_json: bool
) -> int:
    """Import the file and print what became of it; the exit code is 1 if lines were refused."""
    # It is read once more for their number, which costs little beside the rest, and tells auth when it has all.
    total = sum(1 for _ in accounts.records())
    notes = Console(stderr=True)
    if accounts.ignored:
        ignored = shorten(accounts.ignored)
        notes.print(f"kpi: columns that are not imported: {ignored}", soft_wrap=True, markup=False)
    problems, totals = _run(environment, accounts, options, total, notes)
    if as_json:
        print(json.dumps({"file": str(file), **totals, "problems": problems}))
        return int(totals["refused"] > 0)
    for problem in problems:
        print(f"{file}: line {problem['line']}: {problem['problem']}")
    if totals["refused"] > len(problems):
        print(f"... and {totals['refused'] - len(problems):,} more lines")
    print(_summarize(totals, options))
    return int(totals["refused"] > 0)


def _run(
    environment: Mapping[str, str], accounts: AccountFile, options: ImportOptions, total: int, console: Console
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The problems, and the totals, which come last."""
    problems: list[dict[str, Any]] = []
    response: dict[str, Any] = {}
    with open_progress(console) as progress:
        steps = {name: progress.add_task(text, total=total) for name, text in (("read", "read"), ("added", "added"))}
        for response in _send(environment, accounts, options, total):
            if "problem" in response:
                problems.append(response)
            for name, task in steps.items():
                if name in response:
                    progress.update(task, completed=response[name])
    return problems, response


def _send(
    environment: Mapping[str, str], accounts: AccountFile, options: ImportOptions, total: int
) -> Iterator[dict[str, Any]]:
    def records() -> Iterator[Mapping[str, object]]:
        yield options.to_record(lines=total)
        yield from accounts.records()

    command = _AUTH.command("import-accounts")
    return pipe.send(_AUTH.name, command, environment, records(), accept=(0, _LINES_REFUSED), failed=_FAILED)


def _summarize(totals: Mapping[str, Any], options: ImportOptions) -> str:
    new, refused = f"{totals['added']:,}", f"{totals['refused']:,}"
    counts = f"new: {new}, already here: {totals['unchanged']:,}, refused: {refused}"
    if totals["without_password"]:
        counts += f"; new without a password: {totals['without_password']:,}"
    if totals["stored"]:
        return f"kpi: accounts imported; {counts}"
    if options.dry_run:
        return f"kpi: nothing is stored by a dry run; {counts}"
    return f"kpi: nothing is stored; {counts}. Correct these lines, or add --keep-going to leave them out"
