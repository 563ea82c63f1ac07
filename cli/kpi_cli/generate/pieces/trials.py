"""A file of tests, with a first one that holds."""

import re
from pathlib import Path

from kpi_cli.generate.changes import NewFile, Plan
from kpi_cli.generate.fields.names import split_words
from kpi_cli.generate.pieces.house import House, find_noun, names_of_noun, open_house, sentence
from kpi_cli.generate.rendering import render


def plan_test(checkout: Path, *, name: str, service: str, noun: str | None = None) -> Plan:
    """``tests/<noun>/test_<name>.py``."""
    house = open_house(checkout, service)
    noun = find_noun(house, name, noun)
    path, is_get = _find_address(house, noun)
    title = sentence(names_of_noun(noun).plural_words)
    text = render("pieces/test.py.j2", title=title, path=path, is_get=is_get)
    file = house.test_path(noun, f"test_{'_'.join(split_words(name))}.py")
    return Plan(
        title=f"test {file.rpartition('/')[2]} in {service}",
        changes=(NewFile(file, text),),
        notes=(f"run it: .venv/bin/pytest {file}",),
    )


def _find_address(house: House, noun: str) -> tuple[str, bool]:
    """An address of the noun, and whether it can be read; that of the health of the service if it has none."""
    source = house.read(house.path(noun, "endpoints.py")) or ""
    prefix = re.search(r'Router\(prefix="([^"]*)"', source)
    routes = re.findall(r'^@router\.(\w+)\(\s*"([^"{]*)"', source, re.MULTILINE)
    if prefix is None or not routes:
        return "/health/live", True
    path = routes[0][1]
    return f"{prefix[1]}{path}", ("get", path) in routes
