"""``kpi doctor``: checks everything that the stack needs, and reports what is wrong, why, and how to fix it."""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
from rich.console import Console
from rich.text import Text

from kpi_cli import keys
from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.operations import part_checks
from kpi_cli.parts import GATEWAY, PARTS, Part
from kpi_cli.stack import environments, found_keys, libsodium, local_database, postgres, processes, state, vault
from kpi_cli.stack.ports import Ports, is_free, recall
from kpi_cli.token_keys import files as token_files
from kpi_cli.token_keys.ring import State

OLDEST_PYTHON = (3, 11)
# A clock before the day this was written is certainly wrong, and tokens expire by the clock.
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
CLOCK_SKEW = timedelta(seconds=5)
_HELD = (State.NEXT, State.ACTIVE, State.VERIFY_ONLY)
_DIFFERENT = ("auth_secret_key", "internal_key", "feed_key")


@dataclass(frozen=True)
class Finding:
    """The result of one check: its name, what was found, and the command that fixes a problem."""

    check: str
    ok: bool
    detail: str
    fix: str = ""


def examine(layout: Layout) -> list[Finding]:
    """All findings; nothing is changed, and a stopped stack's database is started for the checks only."""
    left = state.find_leftovers(layout)
    findings = [
        _check_python(),
        _check_libsodium(),
        _check_disk(layout),
        _check_clock(),
        _check_gateway_port(layout, left),
        *_check_keys(layout),
    ]
    usable = all(finding.ok for finding in findings[:3])
    return [*findings, *_report_leftovers(left), *_check_with_database(layout, usable=usable)]


def print_findings(findings: Iterable[Finding], console: Console) -> None:
    """Print findings for people."""
    for finding in findings:
        sign, style = ("ok", "green") if finding.ok else ("WRONG", "bold red")
        line = Text.assemble((f"{sign:<6}", style), (f"{finding.check:<20} ", "bold"), finding.detail)
        console.print(line, soft_wrap=True)
        if not finding.ok and finding.fix:
            console.print(Text(f"{'':<27}Fix: {finding.fix}"), soft_wrap=True)


def print_json(findings: Iterable[Finding]) -> None:
    """Print findings for programs."""
    listed = [asdict(finding) for finding in findings]
    print(json.dumps({"ok": all(finding["ok"] for finding in listed), "findings": listed}, indent=2))


def _check_python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= OLDEST_PYTHON
    return Finding(
        "python",
        good,
        f"Python {version}; 3.11 or newer is required",
        "install a newer Python, then: make clean && make install PYTHON=python3.11",
    )


def _check_libsodium() -> Finding:
    found = find_library("sodium")
    return Finding(
        "libsodium", bool(found), found or "not installed, and tokens need it", libsodium.installation_command()
    )


def _check_disk(layout: Layout) -> Finding:
    folder = layout.home if layout.home.exists() else layout.checkout
    free = shutil.disk_usage(folder).free
    detail = f"{free // 2**20:,} MB free; {postgres.NEEDED_BYTES // 2**20} MB are needed"
    return Finding("disk", free >= postgres.NEEDED_BYTES, detail, f"free some space on the disk of {folder}")


def _check_clock() -> Finding:
    now = datetime.now(UTC)
    detail = f"{now:%Y-%m-%dT%H:%M:%SZ}" + (
        "" if EARLIEST <= now <= LATEST else " is wrong, so tokens would expire at the wrong time"
    )
    return Finding("clock", EARLIEST <= now <= LATEST, detail, "sudo timedatectl set-ntp true")


def _check_gateway_port(layout: Layout, left: list[psutil.Process]) -> Finding:
    running = state.read(layout)
    explicit = os.environ.get("GATEWAY_PORT", "")
    if running is not None and running.phase is not state.Phase.DATABASE:
        return Finding("gateway port", True, f"{running.ports.gateway}, used by the running stack")
    if explicit and not (explicit.isdecimal() and 0 < int(explicit) < 2**16):
        return Finding("gateway port", False, f"GATEWAY_PORT={explicit} is not a port number", "unset GATEWAY_PORT")
    port = int(explicit) if explicit else recall(layout).get(GATEWAY.name, GATEWAY.port)
    if is_free(port):
        return Finding("gateway port", True, f"{port} is free")
    if any(processes.listens_on(process, port) for process in left):
        return Finding(
            "gateway port", False, f"{port} is in use by a process that a killed run left", _leftovers_fix(left)
        )
    detail = f"{port} is in use by another program"
    return Finding(
        "gateway port",
        not explicit,
        detail + ("" if explicit else ": make up uses the next free one"),
        "unset GATEWAY_PORT",
    )


def _report_leftovers(left: list[psutil.Process]) -> list[Finding]:
    if not left:
        return []
    detail = f"processes of a killed run are still running: {processes.describe(left)}"
    return [Finding("leftovers", False, detail, _leftovers_fix(left))]


def _leftovers_fix(left: list[psutil.Process]) -> str:
    return f"{processes.stop_command(left)}, or stop them and start again: make up"


def _check_keys(layout: Layout) -> list[Finding]:
    used = [*found_keys.of_stack(layout), *found_keys.of_settings(layout)]
    findings = [*_check_token_keys(layout), *_check_differences(layout), *(_check_key(found) for found in used)]
    for found in found_keys.of_environment():
        finding = _check_key(found)
        if not _uses_environment(layout):
            finding = replace(finding, ok=True, detail=f"{finding.detail}; only {KPI} run uses it, make up has its own")
        findings.append(finding)
    return findings or [Finding("key", True, "none yet; make up creates it")]


def _check_token_keys(layout: Layout) -> list[Finding]:
    """The ring of the local stack, as far as there is one."""
    paths = [path for name in (token_files.RING, token_files.VERIFIERS) if (path := layout.secrets / name).exists()]
    findings = [_check_access(layout, path) for path in paths]
    if paths:
        try:
            ring = token_files.store_in(layout.secrets).read()
            detail = f"{len(ring.in_state(*_HELD))} for {ring.purpose} tokens"
            findings.append(Finding("token keys", ring.active is not None, detail, f"{KPI} keys rotate"))
        except FailureError as failure:
            findings.append(Finding("token keys", False, failure.sentence, failure.fix))
    return findings


def _check_access(layout: Layout, path: Path) -> Finding:
    is_private = not path.stat().st_mode & 0o077
    detail = f"{layout.shorten(path)}: {'private' if is_private else 'other users can read it'}"
    return Finding("token keys", is_private, detail, f"chmod 600 {path}; then replace the keys: {KPI} keys rotate")


def _check_differences(layout: Layout) -> list[Finding]:
    """Each key opens another door, so no two of them may be the same."""
    known = {name: key for name in _DIFFERENT if (key := vault.read(layout.secrets / name))}
    same = [name for name, key in known.items() if list(known.values()).count(key) > 1]
    if not same:
        return []
    fix = f"rm {' '.join(str(layout.secrets / name) for name in same[1:])} && make up"
    return [Finding("key", False, f"{', '.join(same)} are the same key", fix)]


def _check_key(found: found_keys.FoundKey) -> Finding:
    problem = keys.problem(found.key)
    return Finding("key", not problem, f"{found.place}: {problem or 'well-formed and strong'}", found.fix)


def _uses_environment(layout: Layout) -> bool:
    """Whether to check the caller's own settings: they name a database, and there is no local stack."""
    return environments.names_database() and not layout.data.exists()


def _check_with_database(layout: Layout, *, usable: bool) -> list[Finding]:
    if _uses_environment(layout):
        return _check_parts(dict.fromkeys(PARTS, None))
    if not layout.data.exists():
        return [Finding("databases", True, "none yet; make up creates them")]
    missing = [
        name for name in (*vault.FILES, token_files.RING, token_files.VERIFIERS) if not (layout.secrets / name).exists()
    ]
    if missing:
        return [_report_missing(layout, missing)]
    if not usable:
        return [
            Finding("databases", False, "not checked because of the problems above", f"fix those, then: {KPI} doctor")
        ]
    try:
        with local_database.inspect(layout) as ports:
            settings = {part: environments.environment(layout, part, ports) for part in PARTS}
            return [_check_database_clock(layout, ports), *_check_parts(settings)]
    except FailureError as failure:
        last = f": {failure.log[-1]}" if failure.log else ""
        return [Finding(failure.part, False, failure.sentence + last, failure.fix)]


def _report_missing(layout: Layout, names: list[str]) -> Finding:
    # Of all secrets only the superuser's password cannot be replaced: the data was created with it.
    lost = "postgres_password" in names
    fix = "restore it, or remove the data and start over: make clean-data && make up" if lost else "make up"
    return Finding("secrets", False, f"missing from {layout.shorten(layout.secrets)}: {', '.join(names)}", fix)


def _check_database_clock(layout: Layout, ports: Ports) -> Finding:
    try:
        with postgres.connect(layout, ports.postgres) as connection:
            row = connection.execute("SELECT now()").fetchone()
    except psycopg.Error as error:
        return Finding("postgres", False, " ".join(str(error).split()), "make up")
    skew = abs(row[0] - datetime.now(UTC)) if row else CLOCK_SKEW
    return Finding(
        "postgres",
        skew < CLOCK_SKEW,
        f"accepts connections, its clock differs by {skew.total_seconds():.1f} s",
        "make up",
    )


def _check_parts(settings: Mapping[Part, dict[str, str] | None]) -> list[Finding]:
    with ThreadPoolExecutor() as pool:
        reports = pool.map(lambda item: part_checks.run(*item), settings.items())
        return [Finding(**found) for report in reports for found in report]
