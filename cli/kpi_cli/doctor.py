"""``kpi doctor``: looks at everything that the stack needs; says what is wrong, why, and what mends it."""

import json
import os
import shutil
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

import psutil  # type: ignore[import-untyped]
import psycopg
from rich.console import Console
from rich.text import Text

from kpi_cli import examine_parts, found_keys, keys, libsodium, local, parts, postgres, processes, state, vault
from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.ports import GATEWAY_PORT, Ports, is_free, recall

OLDEST_PYTHON = (3, 11)
# A clock before the day this was written is wrong for sure, and tokens live by the clock.
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
CLOCK_SKEW = timedelta(seconds=5)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what it is, what was found, and the command that mends it."""

    check: str
    ok: bool
    detail: str
    fix: str = ""


def examine(layout: Layout) -> list[Finding]:
    """All findings; nothing is changed, and a stopped stack's database is started for the time only."""
    left = [] if state.held(layout) else processes.leftovers(layout.home, layout.data)
    findings = [_python(), _libsodium(), _disk(layout), _clock(), _gateway_port(layout, left), *_keys(layout)]
    usable = all(finding.ok for finding in findings[:3])
    return [*findings, *_leftovers(left), *_with_database(layout, usable=usable)]


def show(findings: Iterable[Finding], console: Console) -> None:
    """Print findings for people."""
    for finding in findings:
        sign, style = ("ok", "green") if finding.ok else ("WRONG", "bold red")
        line = Text.assemble((f"{sign:<6}", style), (f"{finding.check:<20} ", "bold"), finding.detail)
        console.print(line, soft_wrap=True)
        if not finding.ok and finding.fix:
            console.print(Text(f"{'':<27}mend it: {finding.fix}"), soft_wrap=True)


def show_json(findings: Iterable[Finding]) -> None:
    """Print findings for programs."""
    listed = [asdict(finding) for finding in findings]
    print(json.dumps({"ok": all(finding["ok"] for finding in listed), "findings": listed}, indent=2))


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= OLDEST_PYTHON
    return Finding(
        "python",
        good,
        f"Python {version}, and 3.11 or newer is needed",
        "with such a Python on this machine: make clean && make install PYTHON=python3.11",
    )


def _libsodium() -> Finding:
    found = find_library("sodium")
    return Finding("libsodium", bool(found), found or "not on this machine, and tokens need it", libsodium.fix())


def _disk(layout: Layout) -> Finding:
    folder = layout.home if layout.home.exists() else layout.checkout
    free = shutil.disk_usage(folder).free
    detail = f"{free // 2**20:,} MB free, and {postgres.NEEDED_BYTES // 2**20} MB are needed"
    return Finding("disk", free >= postgres.NEEDED_BYTES, detail, f"free some space on the disk of {folder}")


def _clock() -> Finding:
    now = datetime.now(UTC)
    detail = f"{now:%Y-%m-%dT%H:%M:%SZ}" + ("" if EARLIEST <= now <= LATEST else " cannot be, and tokens live by it")
    return Finding("clock", EARLIEST <= now <= LATEST, detail, "sudo timedatectl set-ntp true")


def _gateway_port(layout: Layout, left: list[psutil.Process]) -> Finding:
    running = state.read(layout)
    asked = os.environ.get("GATEWAY_PORT", "")
    if running is not None and running.phase is not state.Phase.DATABASE:
        return Finding("gateway port", True, f"{running.ports.gateway}, used by the running stack")
    if asked and not (asked.isdecimal() and 0 < int(asked) < 2**16):
        return Finding("gateway port", False, f"GATEWAY_PORT={asked} is no port", "unset GATEWAY_PORT")
    port = int(asked) if asked else recall(layout).get("gateway", GATEWAY_PORT)
    if is_free(port):
        return Finding("gateway port", True, f"{port} is free")
    if any(processes.listens(process, port) for process in left):
        return Finding("gateway port", True, f"{port} is held by what a killed run left behind")
    detail = f"{port} is taken by another program"
    return Finding(
        "gateway port",
        not asked,
        detail + ("" if asked else ": make up takes the next"),
        "unset GATEWAY_PORT",
    )


def _leftovers(left: list[psutil.Process]) -> list[Finding]:
    if not left:
        return []
    pids = ", ".join(str(process.pid) for process in left)
    return [Finding("leftovers", False, f"processes of a killed run are still there: {pids}", "make up")]


def _keys(layout: Layout) -> list[Finding]:
    ours = [*found_keys.of_stack(layout), *found_keys.of_settings(layout)]
    findings = [_key(found) for found in ours]
    for found in found_keys.of_environment():
        finding = _key(found)
        if not _looks_at_environment(layout):
            finding = replace(finding, ok=True, detail=f"{finding.detail}; for {KPI} run only, make up has its own")
        findings.append(finding)
    return findings or [Finding("key", True, "none made yet; make up makes one")]


def _key(found: found_keys.FoundKey) -> Finding:
    problem = keys.problem(found.key)
    return Finding("key", not problem, f"{found.where}: {problem or 'of good form and strength'}", found.fix)


def _looks_at_environment(layout: Layout) -> bool:
    """Whether the caller's own settings are all that there is: without a local stack, they are what people run."""
    return parts.names_database() and not layout.data.exists()


def _with_database(layout: Layout, *, usable: bool) -> list[Finding]:
    if _looks_at_environment(layout):
        return _parts(dict.fromkeys(parts.PARTS, None))
    if not layout.data.exists():
        return [Finding("databases", True, "none made yet; make up makes them")]
    missing = [name for name in vault.FILES if not (layout.secrets / name).exists()]
    if missing:
        return [_missing(layout, missing)]
    if not usable:
        return [Finding("databases", False, "not looked at because of the above", f"after that again: {KPI} doctor")]
    try:
        with local.look(layout) as ports:
            environments = {part: parts.environment(layout, part, ports) for part in parts.PARTS}
            return [_database_clock(layout, ports), *_parts(environments)]
    except FailureError as failure:
        last = f": {failure.log[-1]}" if failure.log else ""
        return [Finding(failure.part, False, failure.sentence + last, failure.fix)]


def _missing(layout: Layout, names: list[str]) -> Finding:
    # Of all secrets only the superuser's password cannot be made anew: the data were made with it.
    lost = "postgres_password" in names
    fix = "put it back, or start anew without the data: make clean-data && make up" if lost else "make up"
    return Finding("secrets", False, f"not in {layout.show(layout.secrets)}: {', '.join(names)}", fix)


def _database_clock(layout: Layout, ports: Ports) -> Finding:
    try:
        with postgres.connect(layout, ports.postgres) as connection:
            row = connection.execute("SELECT now()").fetchone()
    except psycopg.Error as error:
        return Finding("postgres", False, " ".join(str(error).split()), "make up")
    skew = abs(row[0] - datetime.now(UTC)) if row else CLOCK_SKEW
    return Finding(
        "postgres", skew < CLOCK_SKEW, f"answers, its clock {skew.total_seconds():.1f} s from ours", "make up"
    )


def _parts(environments: dict[str, dict[str, str] | None] | dict[str, dict[str, str]]) -> list[Finding]:
    with ThreadPoolExecutor() as pool:
        reports = pool.map(lambda item: examine_parts.report(*item), environments.items())
        return [Finding(**found) for report in reports for found in report]
