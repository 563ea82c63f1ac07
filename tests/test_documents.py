"""The tests that docs/asvs.md names exist, its summary is complete, and docs/openapi.json describes usable fields."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "auth": "services/auth/tests",
    "content": "services/content/tests",
    "shared": "shared/tests",
    "gateway": "gateway/tests",
    "cli": "cli/tests",
    "e2e": "tests",
}
# A test, with its file or, after another test of the same file, without.
NAMED = re.compile(r"`(?:(\w+)/([\w/]+\.py))?::(test_\w+)`")
REQUIREMENT = re.compile(r"^\| \*?([\d.]+)\*? \| \*?(\d)\*? \| .*? \| (holds|partly|no|n/a)\b")


@cache
def _lines() -> list[str]:
    return (ROOT / "docs" / "asvs.md").read_text("utf-8").splitlines()


def _named() -> list[tuple[Path, str]]:
    """Each named test, with its file."""
    found = []
    for line in _lines():
        file = ROOT
        for folder, name, test in NAMED.findall(line):
            file = ROOT / FOLDERS[folder] / name if name else file
            found.append((file, test))
    return found


@cache
def _tests_of(file: Path) -> set[str]:
    body = ast.parse(file.read_text("utf-8")).body
    return {item.name for item in body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_link_to_a_file_leads_to_one() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))]
    files = [(page, link) for page, link in links if "://" not in link and not link.startswith("mailto:")]
    assert len(files) > 100
    assert [f"{page.name}: {link}" for page, link in files if not (page.parent / link).exists()] == []


def test_every_named_test_exists() -> None:
    named = _named()
    assert len(named) > 100
    # The pattern has matched every test that is named.
    assert len(named) == sum(line.count("::") for line in _lines())
    missing = [f"{file.name}::{test}" for file, test in named if test not in _tests_of(file)]
    assert missing == []


def test_what_does_not_hold_is_listed_first() -> None:
    assessments = [found.groups() for line in _lines() if (found := REQUIREMENT.match(line))]
    assert len(assessments) == 91
    start, end = (_lines().index(f"## {title}") for title in ("What does not hold", "6.1 Authentication documentation"))
    summary = [line.split("|")[1] for line in _lines()[start:end] if line.startswith("| ")]
    listed = [number for cell in summary for number in re.findall(r"\d[\d.]*", cell)]
    assert listed == [number for number, level, state in assessments if level != "3" and state in {"partly", "no"}]


def _properties(node: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every property of every schema, with its place."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from _properties(item, f"{path}/{number}")
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "properties" and isinstance(value, dict):
                yield from ((f"{path}/{field}", schema) for field, schema in value.items())
            yield from _properties(value, f"{path}/{name}")


def test_no_field_can_only_be_null() -> None:
    """Generators of clients leave such a field out."""
    document = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    properties = list(_properties(document))
    assert len(properties) > 100
    assert [path for path, schema in properties if isinstance(schema, dict) and schema.get("type") == "null"] == []
