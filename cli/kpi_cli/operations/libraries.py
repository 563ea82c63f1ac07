"""``kpi libs``: the libraries of the kit, their drivers, and how they are used.

The kit is asked as a program, since it knows which of its drivers' packages are installed where services run.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from kpi_cli.errors import KPI, FailureError, suggest
from kpi_cli.operations import tables

_KIT = "kpi_kit"
_SECONDS = 30
_COLUMNS = ("library", "drivers", "purpose")
_DRIVER_COLUMNS = ("driver", "installed", "url", "options", "purpose")


def print_libraries(name: str | None, *, usage: bool, as_json: bool) -> None:
    """Print all libraries, or one with its drivers; with ``usage`` the source of a program that uses it."""
    libraries = _ask()
    chosen = libraries if name is None else [_get_or_raise(libraries, name)]
    if as_json:
        print(json.dumps({"libraries": [_select(library, usage=usage) for library in chosen]}, indent=2))
    elif usage:
        _print_usage(chosen, name)
    elif name is None:
        tables.print_rows(_COLUMNS, map(_describe_library, libraries))
    else:
        print(f"{chosen[0]['purpose']}\n")
        tables.print_rows(_DRIVER_COLUMNS, map(_describe_driver, chosen[0]["drivers"]))


def _ask() -> list[dict[str, Any]]:
    if importlib.util.find_spec(_KIT) is None:
        raise FailureError(
            "libs",
            "the kit, a set of libraries for services, is not installed",
            fix="add kpi-kit to the dependencies of a service, then: make install",
        )
    command = [sys.executable, "-m", _KIT]
    try:
        result = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise FailureError("libs", f"python -m {_KIT} did not end within {_SECONDS} s", fix=f"{KPI} doctor") from None
    if result.returncode:
        problem = f"python -m {_KIT} ended with exit code {result.returncode}"
        raise FailureError("libs", problem, log=result.stderr.splitlines()[-10:], fix="make install")
    libraries: list[dict[str, Any]] = json.loads(result.stdout)["libraries"]
    return libraries


def _get_or_raise(libraries: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    found = next((library for library in libraries if library["name"] == name), None)
    if found is None:
        names = [library["name"] for library in libraries]
        problem = f"there is no library {name}{suggest(name, names)}"
        raise FailureError("libs", problem, fix=f"one of these: {', '.join(names)}", code=2)
    return found


def _select(library: Mapping[str, Any], *, usage: bool) -> dict[str, Any]:
    return {key: value for key, value in library.items() if usage or key != "usage"}


def _print_usage(libraries: Sequence[Mapping[str, Any]], name: str | None) -> None:
    if name is None:
        raise FailureError("libs", "--usage needs the name of a library", fix=f"{KPI} libs http --usage", code=2)
    print(libraries[0]["usage"] or "", end="")


def _describe_library(library: Mapping[str, Any]) -> dict[str, Any]:
    drivers = [f"{it['name']}{' (not installed)' if it['missing'] else ''}" for it in library["drivers"]]
    purpose = library["purpose"].partition("\n")[0]
    return {"library": library["name"], "drivers": ", ".join(drivers) or None, "purpose": purpose}


def _describe_driver(driver: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "driver": driver["name"],
        "installed": f"no: add kpi-kit[{driver['extra']}]" if driver["missing"] else "yes",
        "url": " or ".join(driver["urls"]) or None,
        "options": ", ".join(driver["options"]) or None,
        "purpose": driver["purpose"],
    }
