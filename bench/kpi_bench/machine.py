"""The machine and the versions that a table was measured on."""

import json
import os
import platform
import re
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kpi_bench.harness import read_output, report
from kpi_bench.options import PEERS

_PACKAGES = ("uvicorn", "uvloop", "httptools", "fastapi", "httpx", "psycopg", "sqlmodel", "cashews", "redis")
_PROGRAMS = {
    "nginx": ("nginx", "-v"),
    "haproxy": ("haproxy", "-v"),
    "Caddy": ("caddy", "version"),
    "Node.js": ("node", "--version"),
    "Redis": ("redis-server", "--version"),
    "wrk": ("wrk", "-v"),
}


# Above this load average before a run, its figures are not valid.
BUSY = 1.0
_TIMEOUT_SECONDS = 240


def wait_until_calm() -> None:
    """Wait until the load average no longer includes earlier work such as an installation; a few minutes at most."""
    end = time.monotonic() + _TIMEOUT_SECONDS
    if os.getloadavg()[0] > BUSY:
        report("waiting for the machine to calm down")
    while os.getloadavg()[0] > BUSY and time.monotonic() < end:
        time.sleep(1)


def facts() -> dict[str, object]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _find_first(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo")),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        # Shows whether anything else was running.
        "load_average": round(os.getloadavg()[0], 1),
        "kernel": re.sub(r"^(\d+\.\d+\.\d+).*", r"\1", platform.release()),
        "versions": {"Python": platform.python_version(), **_packages(), **_programs(), **_modules()},
    }


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _programs() -> dict[str, str]:
    versions = {name: re.search(r"\d+\.\d+(?:\.\d+)?", read_output(*command)) for name, command in _PROGRAMS.items()}
    return {name: number[0] for name, number in versions.items() if number}


def _modules() -> dict[str, str]:
    """The npm packages are pinned, so the requested versions are the installed ones."""
    found: dict[str, str] = json.loads((PEERS / "package.json").read_text())["dependencies"]
    return found


def _find_first(pattern: str, path: Path) -> str:
    found = re.search(pattern, path.read_text())
    return found[1].strip() if found else "unknown"
