"""The local stack takes up what is made, and gives up what is taken back."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psycopg

from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.parts import PARTS, WITH_DATABASE, Part
from kpi_cli.stack import environments, local_database, migrations, postgres, requests, state
from kpi_cli.stack.ports import Ports
from kpi_cli.stack.state import Phase

_ACCEPT_SECONDS = 5
_READY_SECONDS = 90
_BY_HAND = "stop the running stack and start it again: make up"


def take_up(layout: Layout, paths: Iterable[str]) -> list[str]:
    """Migrate and start again the parts of a running stack whose code is in these files; what came of it, in words."""
    names = find_parts(paths)
    running = state.read(layout)
    if running is None or not names:
        return []
    if running.phase is not Phase.READY or not all(running.ports.by_name.get(name) for name in names):
        # A new service is no part of it yet.
        return [_BY_HAND]
    requests.ask(layout, names)
    if not _wait(_ACCEPT_SECONDS, lambda: not requests.read(layout)):
        requests.clear(layout)
        return [_BY_HAND]
    if not _wait(_READY_SECONDS, lambda: _is_ready(layout)):
        return [f"the running stack is not ready again: {KPI} status"]
    for part in [part for part in WITH_DATABASE if part.name in names]:
        if not migrations.is_current(layout, running.ports.postgres, part):
            log = layout.shorten(layout.logs / f"{part.name}.log")
            return [f"{part.name} goes on with its old code, since its migrations failed: see {log}"]
    return [f"the running stack has taken it up: {running.gateway}"]


def find_parts(paths: Iterable[str]) -> list[str]:
    """The parts whose programs or migrations are among these files; tests and documents are none."""
    found = set()
    for path in paths:
        if path.startswith("shared/kpi_shared/") and not path.startswith("shared/kpi_shared/testing/"):
            return [part.name for part in PARTS]
        found |= {_service_of(path)} | ({"gateway"} if path.startswith("gateway/kpi_gateway/") else set())
    return sorted(found - {""})


def _service_of(path: str) -> str:
    match = re.match(r"services/([a-z_]+)/(?:kpi_\1|migrations)/", path)
    return match[1] if match else ""


def _is_ready(layout: Layout) -> bool:
    now = state.read(layout)
    return now is not None and now.phase is Phase.READY


def _wait(seconds: float, is_done: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def refuse_later_migrations(layout: Layout, paths: Iterable[str]) -> None:
    """FailureError if a migration that stays would come after one of these new files, which are removed."""
    for part, files in _find_migrations(layout, paths).items():
        removed = {_read(file, "revision") for file in files}
        for file in sorted((layout.checkout / part.folder / "migrations" / "versions").glob("*.py")):
            if file not in files and (before := _read(file, "down_revision")) in removed:
                raise FailureError(
                    "make",
                    f"the migration {file.name} comes after {before}, which would be removed",
                    fix="take back or remove that one first",
                )


def give_up(layout: Layout, paths: Iterable[str]) -> list[str]:
    """Downgrade the local databases that have the migrations among these new files; what was dropped, in words."""
    found = _find_migrations(layout, paths)
    if not found or not layout.data.exists():
        return []
    with local_database.use(layout) as ports:
        return [note for part, files in found.items() for note in _downgrade(layout, part, ports, files)]


def _find_migrations(layout: Layout, paths: Iterable[str]) -> dict[Part, list[Path]]:
    found: dict[Part, list[Path]] = {}
    for part in WITH_DATABASE:
        folder = f"{part.folder}/migrations/versions/"
        if files := [layout.checkout / path for path in paths if path.startswith(folder)]:
            found[part] = files
    return found


def _downgrade(layout: Layout, part: Part, ports: Ports, files: Iterable[Path]) -> list[str]:
    revisions = {_read(file, "revision"): _read(file, "down_revision") for file in files}
    current = target = _current_revision(layout, part, ports)
    while target in revisions:
        target = revisions[target] or "base"
    if target == current:
        return []
    _run_alembic(layout, part, ports, target)
    return [f"the local database of {part.name} is at {target} again, and what {current} made is dropped with its rows"]


def _read(file: Path, name: str) -> str:
    """A variable of a migration; empty for None."""
    found = re.search(rf'(?m)^{name}(?:: [^=]+)? = ["\'](\w+)["\']', file.read_text(encoding="utf-8"))
    return found[1] if found else ""


def _current_revision(layout: Layout, part: Part, ports: Ports) -> str:
    try:
        with postgres.connect(layout, ports.postgres, part.database) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except psycopg.errors.UndefinedTable:
        return ""
    return str(row[0]) if row else ""


def _run_alembic(layout: Layout, part: Part, ports: Ports, revision: str) -> None:
    file = layout.checkout / part.folder / "alembic.ini"
    result = subprocess.run(
        [sys.executable, "-m", "alembic", "-c", str(file), "downgrade", revision],
        env=environments.environment(layout, part, ports),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if result.returncode:
        raise FailureError(
            part.name,
            "its local database could not be downgraded, and nothing was taken back",
            log=result.stderr.splitlines()[-10:],
        )
