"""Edits of source texts."""

from collections.abc import Callable

import pytest
from kpi_cli.generate import editing
from kpi_cli.generate.editing import AnchorError

MODULE = '''"""Täglich."""

import os
from typing import (
    Any,
)

NAMES = ["ä", "b"]  # äöü
ROWS = (
    Row(prefix="/a", upstream="auth"),
    # Of content.
    Row(prefix="/b", upstream="content"),  # the last one of content
    *more("x"),
)
EMPTY: dict[str, int] = {}


def create() -> App:
    return build(
        tags={
            "posts": "Posts",
        },
        routers=[posts],
        names=NAMES,
    )
'''


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (
            lambda text: editing.add_import(text, "from decimal import Decimal"),
            ")\n",
            ")\nfrom decimal import Decimal\n",
        ),
        (lambda text: editing.add_to_list(text, "NAMES", '"c"'), '["ä", "b"]', '["ä", "b", "c"]'),
        (
            lambda text: editing.add_to_list(text, "ROWS", "Row()", after='upstream="content"'),
            "the last one of content\n",
            "the last one of content\n    Row(),\n",
        ),
        (lambda text: editing.add_to_list(text, "ROWS", "Row()"), '*more("x"),\n', '*more("x"),\n    Row(),\n'),
        (lambda text: editing.add_to_list(text, "EMPTY", '"a": 1'), "= {}", '= {"a": 1}'),
        (
            lambda text: editing.add_to_list(text, "tags", '"votes": "Votes"'),
            '"posts": "Posts",\n',
            '"posts": "Posts",\n            "votes": "Votes",\n',
        ),
        (lambda text: editing.add_to_list(text, "names", '"c"'), '["ä", "b"]', '["ä", "b", "c"]'),
        (lambda text: editing.add_to_list(text, "routers", "votes"), "[posts]", "[posts, votes]"),
        (lambda text: editing.add_line_after(text, r"^EMPTY", "FULL = 1"), "= {}\n", "= {}\nFULL = 1\n"),
        (lambda text: editing.add_line_before(text, r"^EMPTY", "FULL = 1"), "EMPTY:", "FULL = 1\nEMPTY:"),
        (
            lambda text: editing.add_at_end(text, "\n\nX = 1\n"),
            "names=NAMES,\n    )\n",
            "names=NAMES,\n    )\n\n\nX = 1\n",
        ),
    ],
)
def test_an_edit_changes_one_place_and_nothing_when_done_again(
    edit: Callable[[str], str], before: str, after: str
) -> None:
    assert MODULE.count(before) == 1 or before == ")\n"
    changed = edit(MODULE)
    assert changed == MODULE.replace(before, after, 1)
    compile(changed, "changed", "exec")
    assert edit(changed) == changed


@pytest.mark.parametrize(
    ("source", "item", "expected"),
    [
        ("x = ()", "a", "x = (a,)"),
        ("x = (a,)", "b", "x = (a, b,)"),
        ("x = [(a)\n, b]", "c", "x = [(a)\n, b, c]"),
        ("x = [(b), (a)]", "c", "x = [(b), (a), c]"),
        ("x = a, b", "c", "x = a, b, c"),
        ("x = [\n    a\n]", "b", "x = [\n    a, b\n]"),
        ("x = {**a}", '"k": 1', 'x = {**a, "k": 1}'),
        ("x = {\n    'k': 2,\n}", '"k": 1', "x = {\n    'k': 2,\n}"),
        ("x = [a, b]", "b", "x = [a, b]"),
        ("self.x = []", "b", "self.x = []"),
    ],
)
def test_lists_of_any_form_get_an_item(source: str, item: str, expected: str) -> None:
    if source.startswith("self"):
        with pytest.raises(AnchorError):
            editing.add_to_list(source, "x", item)
    else:
        assert editing.add_to_list(source, "x", item) == expected
        compile(expected, "expected", "exec")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", "\nimport os\n"),
        ('"""Doc."""\n', '"""Doc."""\n\nimport os\n'),
        ("import sys", "import sys\nimport os\n"),
        ("import os, sys\n", "import os, sys\n"),
        ("import os as o\n", "import os as o\nimport os\n"),
    ],
)
def test_an_import_finds_its_place(source: str, expected: str) -> None:
    assert editing.add_import(source, "import os") == expected


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(AnchorError, match="no list named rows"):
        editing.add_to_list("x = 1", "rows", "a")
    with pytest.raises(AnchorError, match="more than one list named x"):
        editing.add_to_list("f(x=[])\ng(x=[])", "x", "a")
    with pytest.raises(AnchorError, match="no line that matches"):
        editing.add_line_after("x = 1", "^y", "a")
    with pytest.raises(AnchorError, match="no contract b"):
        editing.add_container(CONTRACTS, "b", "x")
    with pytest.raises(AnchorError, match="no layer with x in the contract content"):
        editing.add_layer_member(CONTRACTS, "content", "x", "y")


CONTRACTS = """[importlinter]
root_packages =
    a

[importlinter:contract:content]
# Why.
name = A name
containers =
    kpi.posts
    kpi.votes
layers =
    app
    imports | live
    (posts) | (votes)
exhaustive = True

[importlinter:contract:more]
layers =
    a
modules =
    kpi_a
"""


def test_a_contract_is_found_by_its_containers() -> None:
    assert editing.find_contract(CONTRACTS, r"kpi\..*") == "content"
    with pytest.raises(AnchorError, match="no contract with a container other"):
        editing.find_contract(CONTRACTS, "other")


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (lambda text: editing.add_container(text, "content", "kpi.x"), "kpi.votes\n", "kpi.votes\n    kpi.x\n"),
        (
            lambda text: editing.add_container(text, "content", "kpi.x", after="kpi.posts"),
            "kpi.posts\n",
            "kpi.posts\n    kpi.x\n",
        ),
        (lambda text: editing.add_layer_member(text, "content", "imports", "x"), "| live", "| live | x"),
        (lambda text: editing.add_layer_member(text, "content", "posts", "x"), "| (votes)", "| (votes) | x"),
        (lambda text: editing.add_layer(text, "content", "live", "x"), "    imports", "    x\n    imports"),
        (lambda text: editing.add_module(text, "more", "kpi_b"), "kpi_a\n", "kpi_a\n    kpi_b\n"),
    ],
)
def test_contracts_get_their_modules(edit: Callable[[str], str], before: str, after: str) -> None:
    changed = edit(CONTRACTS)
    assert changed == CONTRACTS.replace(before, after, 1)
    assert edit(changed) == changed
