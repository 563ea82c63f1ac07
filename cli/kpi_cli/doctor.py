"""``kpi doctor``: looks at everything that the stack needs; says what is wrong, why, and what mends it."""

import json
import os
import shutil
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from rich.console import Console
from rich.text import Text

from kpi_cli import examine_parts, found_keys, keys, libsodium, local, parts, postgres, state
from kpi_cli.errors import FailureError
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
    findings = [_python(), _libsodium(), _disk(layout), _clock(), _gateway_port(layout), *_keys(layout)]
    return [*findings, *_with_database(layout, usable=all(finding.ok for finding in findings[:3]))]


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
        "python", good, f"Python {version}, and 3.11 or newer is needed", "make clean; make PYTHON=python3.11"
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


def _gateway_port(layout: Layout) -> Finding:
    running = state.read(layout)
    asked = os.environ.get("GATEWAY_PORT", "")
    if running is not None and running.phase is not state.Phase.DATABASE:
        return Finding("gateway port", True, f"{running.ports.gateway}, used by the running stack")
    if asked and not (asked.isdecimal() and 0 < int(asked) < 2**16):
        return Finding("gateway port", False, f"GATEWAY_PORT={asked} is no port", "unset GATEWAY_PORT")
    port = int(asked) if asked else recall(layout).get("gateway", GATEWAY_PORT)
    if is_free(port):
        return Finding("gateway port", True, f"{port} is free")
    detail = f"{port} is taken by another program"
    return Finding(
        "gateway port",
        not asked,
        detail + ("" if asked else ": make up takes the next"),
        "unset GATEWAY_PORT",
    )


def _keys(layout: Layout) -> list[Finding]:
    found = found_keys.search(layout)
    findings = [
        Finding(
            "key",
            not (problem := keys.problem(key)),
            f"{where}: {problem or 'of good form and strength'}",
            fix,
        )
        for where, key, fix in found
    ]
    if not found:
        findings.append(Finding("key", True, "none made yet; make up makes one"))
    return findings


def _with_database(layout: Layout, *, usable: bool) -> list[Finding]:
    if "DATABASE_URL" in os.environ or "DATABASE_URL_FILE" in os.environ:
        return _parts(dict.fromkeys(parts.PARTS, None))
    if not layout.data.exists():
        return [Finding("databases", True, "none made yet; make up makes them")]
    if not usable:
        return [Finding("databases", False, "not looked at because of the above", "kpi doctor again after that")]
    try:
        with local.database(layout) as ports:
            environments = {part: parts.environment(layout, part, ports) for part in parts.PARTS}
            return [_database_clock(layout, ports), *_parts(environments)]
    except FailureError as failure:
        return [Finding(failure.part, False, failure.sentence, failure.fix)]


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
