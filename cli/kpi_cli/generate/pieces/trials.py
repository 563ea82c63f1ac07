"""A file of tests, with a first one that an operation of the noun passes."""

import re
from pathlib import Path
from typing import NamedTuple

from kpi_cli.errors import FailureError
from kpi_cli.generate.changes import NewFile, Plan
from kpi_cli.generate.fields.names import split_words
from kpi_cli.generate.pieces.house import House, find_noun, names_of_noun, open_house, sentence
from kpi_cli.generate.rendering import render

_PREFIX = re.compile(r'^router = Router\((?:prefix="([^"]*)")?', re.MULTILINE)
_ROUTE = re.compile(r'^@router\.(\w+)\(\s*"([^"]*)"', re.MULTILINE)
_ROW = re.compile(r"/\{\w+\}")
_PARAMETER = re.compile(r"\{\w+\}")
# An id that no row of a test has.
_NO_ROW = "999999"
_PUBLIC = {"public", "public-write"}


class _Operation(NamedTuple):
    method: str
    # Behind the prefix of the router, and with it.
    path: str
    address: str
    right: str


def plan_test(checkout: Path, *, name: str, service: str, noun: str | None = None) -> Plan:
    """``tests/<noun>/test_<name>.py``."""
    house = open_house(checkout, service)
    noun = find_noun(house, name, noun)
    file = house.test_path(noun, f"test_{'_'.join(split_words(name))}.py")
    return Plan(
        title=f"test {file.rpartition('/')[2]} in {service}",
        changes=(NewFile(file, _render(house, noun)),),
        notes=(f"run it: .venv/bin/pytest {file}",),
    )


def _render(house: House, noun: str) -> str:
    """What is not there is not found, or no token is refused, or all may read: the first that the noun has."""
    names = names_of_noun(noun)
    problem = f"{names.slug}-not-found"
    has_problem = f'type = "{problem}"' in (house.read(house.path(noun, "errors.py")) or "")
    example, operation = _choose_example(house, noun, has_problem=has_problem)
    caller = "" if operation.right in _PUBLIC else "admin" if operation.right == "admin" else "anna"
    conftest = house.read(house.test_path("conftest.py")) or ""
    return render(
        "pieces/test.py.j2",
        title=sentence(names.plural_words),
        example=example,
        method=operation.method,
        address=_PARAMETER.sub(_NO_ROW, operation.address),
        problem=problem,
        caller=caller,
        # Where no caller is given, the tests make accounts.
        makes_account=f"def {caller}(" not in conftest,
    )


def _choose_example(house: House, noun: str, *, has_problem: bool) -> tuple[str, _Operation]:
    operations = _find_operations(house, noun)
    for operation in operations:
        if has_problem and operation.method == "get" and _ROW.fullmatch(operation.path):
            return "missing", operation
    for operation in operations:
        if operation.right not in _PUBLIC:
            return "protected", operation
    for operation in operations:
        if operation.method == "get" and not _PARAMETER.search(operation.address):
            return "open", operation
    fix = f"kpi make endpoint NAME --in {noun} -s {house.service.name}, which makes a test too"
    raise FailureError("make", f"{noun} has no operation that a first test could call", fix=fix, code=2)


def _find_operations(house: House, noun: str) -> list[_Operation]:
    """Those of the noun's router; what takes no body comes first, since a test of it is short."""
    source = house.read(house.path(noun, "endpoints.py")) or ""
    prefix = _PREFIX.search(source)
    if prefix is None:
        return []
    rights = _read_rights(house.get("tests/rights.txt"))
    found = []
    for method, path in _ROUTE.findall(source):
        address = f"{prefix[1] or ''}{path}"
        if right := rights.get(f"{method.upper()} /api/v1{address}"):
            found.append(_Operation(method, path, address, right))
    return sorted(found, key=lambda operation: operation.method not in {"get", "delete"})


def _read_rights(text: str) -> dict[str, str]:
    lines = [line.rsplit(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    return {operation.strip(): right for operation, right in lines}
