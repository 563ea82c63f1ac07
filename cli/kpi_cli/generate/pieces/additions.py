"""Adding a class or a function to a file of a noun, which is made if it is not there."""

import ast
import re
from collections.abc import Sequence
from functools import partial

from kpi_cli.errors import FailureError
from kpi_cli.generate import editing
from kpi_cli.generate.changes import Change, Edit, NewFile
from kpi_cli.generate.pieces.house import House, defined_names


def add_block(
    house: House, path: str, *, docstring: str, imports: Sequence[str], block: str, before: str | None = None
) -> Change:
    """``block`` has definitions, which come last in the file, or before the first line that ``before`` matches.

    A new file begins with ``docstring``.
    """
    change = partial(_add, path=path, imports=imports, block=block, before=before)
    if house.read(path) is not None:
        return Edit(path, change)
    return NewFile(path, change(f'"""{docstring}"""\n'))


def _add(source: str, *, path: str, imports: Sequence[str], block: str, before: str | None) -> str:
    there = {_name(node): node for node in ast.parse(source).body}
    new = ast.parse(block).body
    if all(_name(node) in there and ast.dump(there[_name(node)]) == ast.dump(node) for node in new):
        return source
    names = [_name(node) for node in new]
    if taken := sorted(set(names) & (defined_names(source) | defined_names("\n".join(imports)))):
        raise FailureError("make", f"{path} has another {', '.join(taken)} already", fix="choose another name", code=2)
    for line in imports:
        source = editing.add_import(source, line)
    if before is not None and re.search(before, source, re.MULTILINE):
        return editing.add_line_before(source, before, f"{block.strip()}\n\n")
    return f"{source.rstrip()}\n\n\n{block.strip()}\n"


def _name(node: ast.stmt) -> str:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return ast.unparse(node)
