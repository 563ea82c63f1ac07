"""Errors, and the values of states."""

import ast
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from kpi_cli.errors import FailureError
from kpi_cli.generate.changes import Change, Plan
from kpi_cli.generate.fields.enums import name_members, print_enum
from kpi_cli.generate.fields.names import split_words
from kpi_cli.generate.pieces.additions import add_block
from kpi_cli.generate.pieces.house import (
    House,
    class_name,
    find_noun,
    names_of_noun,
    open_house,
    sentence,
)
from kpi_cli.generate.rendering import render


def plan_error(
    checkout: Path, *, name: str, service: str, noun: str | None = None, status: int = 409, title: str | None = None
) -> Plan:
    """An error that clients see as a problem document."""
    house = open_house(checkout, service)
    noun = find_noun(house, name, noun)
    words = split_words(name)
    words = words[:-1] if words[-1:] == ("error",) and len(words) > 1 else words
    return Plan(
        title=f"error {class_name(words, suffix='Error')} in {service}/{noun}",
        changes=(_error(house, noun, words, status=_check_status(status), title=title or sentence(words)),),
        notes=("name it in the responses=problems(...) of the endpoints that raise it",),
    )


def _check_status(status: int) -> int:
    if not (400 <= status < 600 and status in set(HTTPStatus)):  # noqa: PLR2004 the classes of errors
        raise FailureError("make", f"{status} is not the status of an error, such as 404 or 409", code=2)
    return status


def _error(house: House, noun: str, words: Sequence[str], *, status: int, title: str) -> Change:
    slug = "-".join(words)
    if not (title.isprintable() and len(title) <= 100 and '"' not in title and "\\" not in title):  # noqa: PLR2004 a line
        raise FailureError("make", "a title is one line without quotes, of at most 100 characters", code=2)
    name = class_name(words, suffix="Error")
    _check_slug(house, slug, name)
    return add_block(
        house,
        house.path(noun, "errors.py"),
        docstring=f"The problems of requests about {names_of_noun(noun).plural_title}.",
        imports=["from kpi_shared.errors import ProblemError"],
        block=render("pieces/error.py.j2", class_name=name, status=status, slug=slug, title=title),
    )


def _check_slug(house: House, slug: str, name: str) -> None:
    """Clients tell problems apart by their slugs."""
    for file in sorted((house.checkout / house.path()).rglob("*.py")):
        others = {owner for owner in _owners(file.read_text(encoding="utf-8"), slug) if owner != name}
        if others:
            sentence = f"{others.pop()} in {file.relative_to(house.checkout)} has the type {slug} already"
            raise FailureError("make", sentence, fix="choose another name", code=2)


def _owners(source: str, slug: str) -> list[str]:
    """The classes that have this type of problem."""
    if f'type = "{slug}"' not in source:
        return []
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    return [node.name for node in classes if f"type = '{slug}'" in map(ast.unparse, node.body)]


def plan_enum(checkout: Path, *, name: str, service: str, values: Sequence[str], noun: str | None = None) -> Plan:
    """The values of a column, from which check_choice makes its CHECK."""
    house = open_house(checkout, service)
    noun = find_noun(house, name, noun)
    enum, column = class_name(split_words(name)), split_words(name)[-1]
    if not values:
        raise FailureError("make", "an enum has values", fix="-v draft -v published", code=2)
    try:
        members = name_members(column, values)
    except ValueError as error:
        raise FailureError("make", str(error), code=2) from None
    change = add_block(
        house,
        house.path(noun, "models.py"),
        docstring=f"The values of {names_of_noun(noun).plural_title}.",
        imports=["from enum import StrEnum"],
        block=print_enum(enum, members),
        # So that a table can name it.
        before="^class ",
    )
    note = f'of a column: check_choice("{column}", {enum}) of kpi_shared.fields.checks in __table_args__'
    return Plan(title=f"enum {enum} in {service}/{noun}", changes=(change,), notes=(note,))
