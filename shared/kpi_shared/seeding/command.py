"""``python -m kpi_<part> seed``: runs the seeders of a service, each after those whose rows it needs."""

import asyncio
import importlib
import importlib.util
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from types import ModuleType
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from kpi_shared.database import Database
from kpi_shared.operations import reason_of
from kpi_shared.parts import Part
from kpi_shared.seeding.errors import SeedingError
from kpi_shared.settings import DatabaseSettings, Environment

# Each batch is a transaction, so a run that is stopped has added something, and goes on from there the next time.
_BATCH = 1_000
Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class SeedOptions:
    """What the command line asks for; without a seeder, all of them run."""

    count: int
    seeder: str | None = None
    allow_production: bool = False
    # A JSON object for each step instead of a line for people.
    as_json: bool = False


def run(part: Part, settings: DatabaseSettings, options: SeedOptions) -> int:
    """Run the seeders and return the exit code."""
    try:
        _check_environment(settings, options)
        modules = load_seeders(part, options.seeder)
        asyncio.run(_seed(part, settings, modules, options))
    except (SeedingError, SQLAlchemyError) as error:
        print(f"{part.program}: {reason_of(error)}", file=sys.stderr)
        return 1
    return 0


def _check_environment(settings: DatabaseSettings, options: SeedOptions) -> None:
    if settings.app_env is Environment.PRODUCTION and not options.allow_production:
        raise SeedingError("APP_ENV is production, where made-up rows are refused without --allow-production")


def load_seeders(part: Part, only: str | None = None) -> dict[str, ModuleType]:
    """The modules of ``seeding/`` by name, in an order in which they can run; ``only`` one and those that it needs."""
    names = _find_names(part)
    if only is not None and only not in names:
        raise SeedingError(f"there is no seeder {only}; the seeders are {', '.join(names) or 'none'}")
    modules = {name: _import(part, name) for name in names}
    needs = {name: [other for other in getattr(modules[name], "AFTER", ()) if other in names] for name in names}
    wanted = set(names) if only is None else _close(needs, only)
    try:
        order = TopologicalSorter({name: needs[name] for name in names if name in wanted}).static_order()
        return {name: modules[name] for name in order}
    except CycleError as error:
        raise SeedingError(f"these seeders wait for each other: {', '.join(error.args[1])}") from None


def _close(needs: Mapping[str, Sequence[str]], name: str) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        found.add(next_one := waiting.pop())
        waiting += [other for other in needs[next_one] if other not in found]
    return found


def _find_names(part: Part) -> list[str]:
    folder = importlib.util.find_spec(f"{part.package}.seeding")
    if folder is None or folder.submodule_search_locations is None:
        return []
    return sorted(found.name for found in pkgutil.iter_modules(folder.submodule_search_locations))


def _import(part: Part, name: str) -> ModuleType:
    try:
        return importlib.import_module(f"{part.package}.seeding.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "polyfactory":
            raise
        extra = f"uv pip install 'polyfactory>=3', or the extra {part.program}[seeding]"
        raise SeedingError(f"seeding needs polyfactory, which this installation lacks: {extra}") from None


async def _seed(
    part: Part, settings: DatabaseSettings, modules: Mapping[str, ModuleType], options: SeedOptions
) -> None:
    report = _report_json if options.as_json else lambda step: print(_describe(part, step), flush=True)
    database = Database(settings)
    try:
        for name, module in modules.items():
            await _run_seeder(database, name, module, options.count, report)
    finally:
        await database.close()


async def _run_seeder(database: Database, name: str, module: ModuleType, count: int, report: Report) -> None:
    added = 0
    for target in _targets(count):
        async with database.writing() as connection:
            added += await module.seed(connection, count=target)
        report({"seeder": name, "done": target, "count": count, "added": added})
    if note := getattr(module, "NOTE", None):
        report({"seeder": name, "note": note})


def _targets(count: int) -> Iterator[int]:
    yield from range(_BATCH, count, _BATCH)
    yield count


def _report_json(step: Mapping[str, Any]) -> None:
    print(json.dumps(step), flush=True)


def _describe(part: Part, step: Mapping[str, Any]) -> str:
    if "note" in step:
        return f"{part.program}: {step['note']}"
    return f"{part.program}: {step['seeder']}: {step['done']:,} of {step['count']:,}: added {step['added']:,}"
