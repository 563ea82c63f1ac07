"""``python -m kpi_kit``: print the libraries and their drivers as JSON, for ``kpi libs``."""

import ast
import json
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from kpi_kit.drivers import Driver

_KIT = Path(__file__).parent


def describe_libraries() -> list[dict[str, Any]]:
    """Each with name, purpose, the source of its usage, and its drivers; no library is imported."""
    return [_describe_library(file.parent) for file in sorted(_KIT.glob("*/__init__.py"))]


def _describe_library(folder: Path) -> dict[str, Any]:
    usage = folder / "usage.py"
    return {
        "name": folder.name,
        "purpose": _read_docstring(folder / "__init__.py"),
        "drivers": [_describe_driver(driver) for driver in _read_drivers(folder)],
        "usage": usage.read_text(encoding="utf-8") if usage.exists() else None,
    }


def _read_docstring(file: Path) -> str:
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


def _read_drivers(folder: Path) -> Iterator[Driver]:
    """Run the file of the table alone: to import it as a module would import its library, which may need an extra."""
    spec = spec_from_file_location(f"_kpi_kit_{folder.name}_drivers", folder / "drivers" / "__init__.py")
    if spec is None or spec.loader is None or not (folder / "drivers" / "__init__.py").exists():
        return
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield from module.DRIVERS


def _describe_driver(driver: Driver) -> dict[str, Any]:
    return {
        "name": driver.name,
        "purpose": driver.purpose,
        "urls": list(driver.forms.values()),
        "options": list(driver.options),
        "extra": driver.extra or None,
        "missing": driver.find_missing(),
    }


if __name__ == "__main__":
    print(json.dumps({"libraries": describe_libraries()}, indent=2))  # noqa: T201 the program's output
