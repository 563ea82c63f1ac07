"""Names that generated code would use for two things, which no list of reserved words can know beforehand."""

import ast
import builtins
from collections import Counter
from collections.abc import Iterable, Iterator

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def find_clash(module: str, source: str) -> str | None:
    """One sentence about the first name of a module that hides another, or None."""
    tree = ast.parse(source)
    origins: dict[str, set[str]] = {}
    for node in tree.body:
        for name, origin in _bind(node):
            origins.setdefault(name, set()).add(origin)
    twice = next((name for name, found in origins.items() if len(found) > 1), None)
    if twice is None:
        functions = (node for node in tree.body if isinstance(node, _Function))
        twice = next((name for node in functions for name in _locals(node) if name in origins), None)
    if twice is not None:
        return f"its {module}.py would use the name {twice} for two things"
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    known = {*origins, *vars(builtins)}
    return next((reason for node in classes if (reason := _find_hidden(module, node, known))), None)


def _bind(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """The names of a statement, each with what it stands for: an import may be there twice."""
    match node:
        case ast.ImportFrom(module=module, names=aliases):
            yield from ((alias.asname or alias.name, f"{module}.{alias.name}") for alias in aliases)
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name, f"line {node.lineno}"
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            yield name, f"line {node.lineno}"


def _locals(function: _Function) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _find_hidden(module: str, node: ast.ClassDef, known: Iterable[str]) -> str | None:
    """An attribute that is there twice, or that hides what the class uses after it."""
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
    counts = Counter(each.target.id for each in fields if isinstance(each.target, ast.Name))
    if twice := next((name for name, count in counts.items() if count > 1), None):
        what = "its list would have two query parameters" if node.name.endswith("Query") else "it would have two fields"
        return f"{what} named {twice}"
    seen: set[str] = set()
    for each in fields:
        used = _names_of(each.value) & seen
        seen |= _names_of(each.target)
        used |= _names_of(each.annotation) & seen
        if used & {*known}:
            return f"the classes of its {module}.py use what has the name {(used & {*known}).pop()}"
    return None


def _names_of(node: ast.AST | None) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} if node else set()
