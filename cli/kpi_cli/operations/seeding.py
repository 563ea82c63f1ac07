"""``kpi db seed``: the seeders of the services, each a program that reports its progress line by line."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from kpi_cli import auth_process, parts
from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout
from kpi_cli.operations.service_databases import Consent, ServiceDatabase, open_databases, refuse_remote
from kpi_cli.parts import Part


@dataclass(frozen=True, kw_only=True)
class SeedRequest:
    """What the options ask for: all seeders of all services, of one, or one with those whose rows it needs."""

    service: str | None
    seeder: str | None
    count: int
    allow_production: bool
    remote: bool

    @property
    def options(self) -> list[str]:
        """Those of the services' own command."""
        seeder = ["--seeder", self.seeder] if self.seeder else []
        return ["--json", "--count", str(self.count), *seeder, *["--allow-production"][: self.allow_production]]


def seed(layout: Layout, request: SeedRequest, *, as_json: bool) -> None:
    with open_databases(layout, request.service) as databases:
        chosen = [each for each in databases if request.seeder in {None, *list_seeders(layout, each.part)}]
        if not chosen:
            raise _unknown_seeder(layout, request.seeder, [each.part for each in databases])
        refuse_remote(chosen, Consent(yes=True, remote=request.remote))
        for database in chosen:
            database.migrate_if_needed(layout)
        with _show_progress(Console(stderr=True)) as progress:
            results = [_Run(database, progress).run(request.options) for database in chosen]
    _print(results, as_json=as_json)


def _show_progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def list_seeders(layout: Layout, part: Part) -> list[str]:
    """The modules of the service's ``seeding/``."""
    found = (layout.checkout / part.folder / part.package / "seeding").glob("*.py")
    return sorted(path.stem for path in found if path.stem != "__init__")


def _unknown_seeder(layout: Layout, seeder: str | None, searched: list[Part]) -> FailureError:
    known = ", ".join(name for part in searched for name in list_seeders(layout, part))
    services = parts.join_names(searched, "and")
    return FailureError("db", f"there is no seeder {seeder} in {services}; there are: {known or 'none'}", code=2)


class _Run:
    """The seeders of one service."""

    def __init__(self, database: ServiceDatabase, progress: Progress) -> None:
        self._database = database
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self.added: dict[str, int] = {}
        self.notes: list[str] = []

    def run(self, options: list[str]) -> dict[str, Any]:
        part = self._database.part
        for step in auth_process.follow(self._database.environment, "seed", *options, part=part):
            self._note(step)
        return {"service": part.name, "added": self.added, "notes": self.notes}

    def _note(self, step: Mapping[str, Any]) -> None:
        if "note" in step:
            self.notes.append(step["note"])
            return
        name = step["seeder"]
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(f"{self._database.part.name} {name}", total=step["count"])
        self._progress.update(self._tasks[name], completed=step["done"])
        self.added[name] = step["added"]


def _print(results: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(results))
        return
    for result in results:
        for name, number in result["added"].items():
            print(f"kpi: {result['service']}: {name}: {f'added {number:,}' if number else 'nothing to add'}")
        for note in result["notes"]:
            print(f"kpi: {note}")
    sys.stdout.flush()
