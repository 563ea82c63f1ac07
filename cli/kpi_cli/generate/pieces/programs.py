"""What a service's program has beside its endpoints: commands, and layers around the application."""

import re
from pathlib import Path

from kpi_cli.errors import FailureError
from kpi_cli.generate import editing
from kpi_cli.generate.changes import Change, Edit, NewFile, Plan
from kpi_cli.generate.fields.names import split_words
from kpi_cli.generate.pieces.additions import add_block
from kpi_cli.generate.pieces.house import House, class_name, find_noun, function_name, open_house
from kpi_cli.generate.rendering import render

_CONSOLE_IMPORTS = (
    "import asyncio",
    "import json",
    "import sys",
    "from typing import Any",
    "import psycopg",
    "from kpi_shared.database import Database",
    "from kpi_shared.migrations import current_revision",
    "from kpi_shared.operations import reason_of",
    "from sqlalchemy.exc import SQLAlchemyError",
)
# Commands of the runner that each part has.
_RESERVED = frozenset({"serve", "check", "migrate", "openapi"})


def plan_command(checkout: Path, *, name: str, service: str, noun: str | None = None) -> Plan:
    """A command of the service's program: ``python -m kpi_content purge-drafts``."""
    house = open_house(checkout, service)
    words = split_words(name)
    command, function = "-".join(words), function_name(words)
    noun = noun and find_noun(house, name, noun)
    if noun is None:
        noun = _noun_of_command(house, words)
    if command in _RESERVED:
        raise FailureError("make", f"each part has a command {command}", fix="choose another name", code=2)
    settings = _settings_class(house)
    package = house.service.package
    values = {"package": package, "noun": noun, "command": command, "function": function, "settings": settings}
    console = add_block(
        house,
        house.path(noun, "console.py"),
        docstring=f"Commands of ``python -m {package}``.",
        imports=[*_CONSOLE_IMPORTS, f"from {package}.settings import {settings}"],
        block=render("pieces/command.py.j2", **values),
    )
    main = Edit(house.path("__main__.py"), lambda source: _register(source, package, noun, function, command))
    test = NewFile(house.test_path(noun, f"test_{function}.py"), render("pieces/test_command.py.j2", **values))
    return Plan(
        title=f"command {command} of {service}",
        changes=(console, main, test),
        notes=(f'run it: eval "$(.venv/bin/kpi env {service})" && .venv/bin/python -m {package} {command}',),
    )


def _noun_of_command(house: House, words: tuple[str, ...]) -> str:
    """The noun that one of the words names: purge-drafts of posts is asked for with ``--in``."""
    for word in reversed(words):
        if word in house.nouns():
            return word
    nouns = ", ".join(house.nouns())
    raise FailureError("make", f"{'-'.join(words)} names no noun ({nouns})", fix="say which one: --in NOUN", code=2)


def _settings_class(house: House) -> str:
    found = re.search(r"import (?:.*\b)?(\w+Settings)\b", house.get(house.path("__main__.py")))
    if found is None:
        raise FailureError("make", f"{house.path('__main__.py')} imports no class of settings", code=2)
    return found[1]


def _register(source: str, package: str, noun: str, function: str, command: str) -> str:
    # Named by its module, it is imported only when it runs.
    entry = f'"{command}": "{package}.{noun}.console:{function}"'
    if entry not in source and f'"{command}": ' in source:
        raise FailureError("make", f"there is a command {command} already", fix="choose another name", code=2)
    return editing.add_to_list(source, "COMMANDS", entry)


def plan_middleware(checkout: Path, *, name: str, service: str) -> Plan:
    """A layer around the application of a service, which marks each response."""
    house = open_house(checkout, service)
    words = split_words(name)
    module, layer = function_name(words), class_name(words)
    _check_module(house, module, layer)
    header = "X-" + "-".join(word.capitalize() for word in words)
    package = house.service.package
    values = {"package": package, "module": module, "class_name": layer, "header": header, "service": service}
    changes: tuple[Change, ...] = (
        NewFile(house.path(f"{module}.py"), render("pieces/middleware.py.j2", **values)),
        Edit(house.path("app.py"), lambda source: _add_layer(source, f"{package}.{module}", layer, service)),
        _add_lowest_module(house, module),
        NewFile(house.test_path(f"test_{module}.py"), render("pieces/test_middleware.py.j2", **values)),
    )
    return Plan(title=f"middleware {layer} in {service}", changes=changes)


def _check_module(house: House, module: str, layer: str) -> None:
    taken = house.read(house.path(f"{module}.py"))
    if house.has_noun(module) or (taken is not None and f"class {layer}:" not in taken):
        raise FailureError("make", f"{house.service.package} has a module {module} already", code=2)


def _add_layer(source: str, module: str, layer: str, service: str) -> str:
    if f"app.add_middleware({layer}" in source:
        return source
    source = editing.add_import(source, f"from {module} import {layer}")
    return editing.add_line_before(source, r"^    return app$", f'    app.add_middleware({layer}, value="{service}")')


def _add_lowest_module(house: House, module: str) -> Edit:
    """Its place in the order of the service: beside the settings, since it imports nothing of the service."""
    return Edit(
        f"{house.service.folder}/.importlinter",
        lambda source: editing.add_layer_member(source, _contract_of_nouns(source, house), "settings", module),
    )


def _contract_of_nouns(source: str, house: House) -> str:
    """The contract of layers whose container is the package itself."""
    package = re.escape(house.service.package)
    pattern = rf"^\[importlinter:contract:([\w-]+)\]\n(?:(?!\[).*\n)*?containers = {package}\n"
    found = re.search(pattern, source, re.MULTILINE)
    if found is None:
        raise editing.AnchorError(f"no contract about the layers of {house.service.package}")
    return found[1]
