"""``kpi docs`` and ``version``: where to read on, and what is installed."""

import json
import platform
import subprocess
import webbrowser
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout
from kpi_cli.operations import tables
from kpi_cli.parts import PARTS
from kpi_cli.stack import postgres, state

_SECONDS = 10


def print_docs(layout: Layout, *, is_open: bool, as_json: bool) -> None:
    """Print the addresses of the API documents of the running stack, and the pages of this checkout."""
    addresses, pages = _find_api(layout), list(_find_pages(layout))
    if is_open:
        _open(addresses)
    if as_json:
        print(json.dumps({"api": addresses, "pages": pages}, indent=2))
        return
    if not addresses:
        tables.report_problem("docs: the page of the API is served by the running stack: make up")
    tables.print_rows(("page", "title"), [*_as_rows(addresses), *pages])


def _find_api(layout: Layout) -> dict[str, str]:
    running = state.read(layout)
    if running is None or running.phase is not state.Phase.READY:
        return {}
    return {
        "The API, to read and to try": f"{running.gateway}/docs",
        "The API, to read": f"{running.gateway}/redoc",
        "The OpenAPI document": f"{running.gateway}/openapi.json",
    }


def _as_rows(addresses: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"page": address, "title": title} for title, address in addresses.items()]


def _find_pages(layout: Layout) -> Iterator[dict[str, str]]:
    folder = layout.checkout / "docs"
    for path in [layout.checkout / "README.md", *sorted(folder.glob("*.md")), folder / "adr"]:
        if path.exists():
            yield {"page": layout.shorten(path), "title": _read_title(path) if path.is_file() else "Decisions"}


def _read_title(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ")), "")


def _open(addresses: Mapping[str, str]) -> None:
    if not addresses:
        raise FailureError("docs", "the stack is not running, and serves the page", fix="make up")
    try:
        is_open = webbrowser.open(next(iter(addresses.values())))
    except webbrowser.Error:
        is_open = False
    if not is_open:
        tables.report_problem(f"docs: no browser was found; open this address: {next(iter(addresses.values()))}")


def print_version(layout: Layout, *, kpi: str, as_json: bool) -> None:
    """Print the versions of everything that a report of a problem should name."""
    found: dict[str, Any] = {
        "kpi": kpi,
        "python": platform.python_version(),
        "postgresql": _ask([_find_postgres(), "--version"]).rpartition(" ")[2] or None,
        "git": _ask(["git", "-C", str(layout.checkout), "describe", "--always", "--dirty", "--abbrev=12"]) or None,
        "parts": {part.name: _find_version(part.package) for part in PARTS},
    }
    if as_json:
        print(json.dumps(found, indent=2))
        return
    installed = found.pop("parts")
    for name, value in {**found, **installed}.items():
        print(f"{name:<11} {value or 'unknown'}")


def _find_postgres() -> str:
    try:
        return str(postgres.programs() / "postgres")
    except FailureError:
        return "postgres"


def _find_version(package: str) -> str | None:
    try:
        return version(package.replace("_", "-"))
    except PackageNotFoundError:
        return None


def _ask(command: list[str]) -> str:
    """The first line that a program prints; nothing if it is not there or fails."""
    try:
        result = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip().splitlines()[0] if result.returncode == 0 and result.stdout.strip() else ""
