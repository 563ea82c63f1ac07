"""Edits of source texts that keep everything else as it is. Each function gets and returns a text.

Where the change is already there, the text is returned as it is. ``AnchorError`` says what was not found; the formatter
brings the new lines into their form and order.
"""

import ast
import re
from collections.abc import Iterator
from configparser import ConfigParser

Collection = ast.List | ast.Tuple | ast.Set | ast.Dict


class AnchorError(Exception):
    """The place of an edit is not in the text: the developer has moved or renamed it."""


def add_import(source: str, line: str) -> str:
    """Add ``line``, such as ``from decimal import Decimal``, behind the last import of the module."""
    wanted = set(_names_of(ast.parse(line).body[0]))
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    if wanted <= {name for node in imports for name in _names_of(node)}:
        return source
    if imports:
        return _insert_lines(source, imports[-1].end_lineno or 0, line)
    has_docstring = ast.get_docstring(tree) is not None
    return _insert_lines(source, (tree.body[0].end_lineno or 0) if has_docstring else 0, f"\n{line}")


def _names_of(node: ast.AST) -> Iterator[tuple[str, str, str | None]]:
    if isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        yield from ((module, alias.name, alias.asname) for alias in node.names)
    elif isinstance(node, ast.Import):
        yield from (("", alias.name, alias.asname) for alias in node.names)


def add_to_list(source: str, name: str, item: str, *, after: str = "") -> str:
    """Add an item to the list, tuple, set or dictionary that a variable or a keyword argument ``name`` has.

    ``item`` is an expression, for a dictionary ``key: value``, where a key that exists is left alone. It comes behind
    the last item that contains the text ``after``, or else last.
    """
    collection = _find_collection(source, name)
    items = [*_items(collection)]
    if _key(item, collection) in {_key(_text_of(source, node), collection) for node in items}:
        return source
    if not items:
        return _insert_into_empty(source, collection, item)
    behind = [node for node in items if after and after in _text_of(source, node)]
    number = items.index(behind[-1] if behind else items[-1])
    gap_end = _range(items[number + 1])[0] if number + 1 < len(items) else _inner_end(collection)
    return _insert_behind(source, _range(items[number])[1], gap_end, item)


def _find_collection(source: str, name: str) -> Collection:
    values = [*_values_of(ast.parse(source), name)]
    match values:
        # ``tags=_TAGS``
        case [ast.Name(id=other)] if other != name:
            return _find_collection(source, other)
    found = [value for value in values if isinstance(value, Collection)]
    if len(found) != 1:
        raise AnchorError(f"{'no' if not found else 'more than one'} list named {name}")
    return found[0]


def _values_of(tree: ast.AST, name: str) -> Iterator[ast.expr | None]:
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg=known, value=value) if known == name:
                yield value
            case ast.Assign(targets=[ast.Name(id=known)], value=value) if known == name:
                yield value
            case ast.AnnAssign(target=ast.Name(id=known), value=value) if known == name:
                yield value


# An item of a dictionary is a key, or None for ``**other``, with its value.
_Item = tuple[ast.expr | None, ast.expr]


def _items(collection: Collection) -> Iterator[_Item]:
    if isinstance(collection, ast.Dict):
        yield from zip(collection.keys, collection.values, strict=True)
    else:
        yield from ((None, element) for element in collection.elts)


def _key(item: str, collection: Collection) -> str:
    """What an item is compared by: its code without its form; of a dictionary, the key alone."""
    if isinstance(collection, ast.Dict):
        first = ast.parse(f"{{{item}}}", mode="eval").body
        key = first.keys[0] if isinstance(first, ast.Dict) else None
        return ast.unparse(key) if key is not None else item
    return ast.unparse(ast.parse(f"[{item}]", mode="eval").body)


def _range(item: _Item) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where an item begins and ends: lines from 1, columns in bytes."""
    first, last = item[0] or item[1], item[1]
    return (first.lineno, first.col_offset), (last.end_lineno or 0, last.end_col_offset or 0)


def _text_of(source: str, item: _Item) -> str:
    start, end = (_offset(source, *position) for position in _range(item))
    return source.encode()[start:end].decode()


def _offset(source: str, line: int, column: int) -> int:
    lines = source.encode().splitlines(keepends=True)
    return sum(map(len, lines[: line - 1])) + column


def _insert_into_empty(source: str, collection: Collection, item: str) -> str:
    start = _offset(source, collection.lineno, collection.col_offset) + 1
    return _insert_at(source, start, f"{item}," if isinstance(collection, ast.Tuple) else item)


def _inner_end(collection: Collection) -> tuple[int, int]:
    """Where the closing bracket is; a tuple may have none."""
    end = (collection.end_lineno or 0, collection.end_col_offset or 0)
    is_bare = isinstance(collection, ast.Tuple) and _range((None, collection.elts[-1]))[1] == end
    return end if is_bare else (end[0], end[1] - 1)


def _insert_behind(source: str, end: tuple[int, int], gap_end: tuple[int, int], item: str) -> str:
    """Insert behind the item that ends at ``end``; at ``gap_end`` the next one begins, or the collection ends."""
    text = source.encode()
    gap = text[_offset(source, *end) : _offset(source, *gap_end)]
    # Parentheses around an item are no part of its node.
    closing = re.match(rb"(?:\s*\))*", gap)
    offset = _offset(source, *end) + (closing.end() if closing else 0)
    # An item that is followed by a comma, and perhaps a comment, at the end of its line: the new one gets a line.
    rest = re.match(rb"[ \t]*,[ \t]*(#[^\n]*)?\n", text[offset:])
    if not rest:
        return _insert_at(source, offset, f", {item}")
    line = text[:offset].splitlines(keepends=True)[-1]
    indent = line[: len(line) - len(line.lstrip())].decode()
    return _insert_at(source, offset + rest.end(), f"{indent}{item},\n")


def _insert_at(source: str, offset: int, text: str) -> str:
    whole = source.encode()
    return (whole[:offset] + text.encode() + whole[offset:]).decode()


def _insert_lines(source: str, after: int, text: str) -> str:
    """Insert lines behind line ``after``, counted from 1; 0 is the beginning."""
    lines = source.splitlines(keepends=True)
    if lines[:after] and not lines[after - 1].endswith("\n"):
        lines[after - 1] += "\n"
    return "".join([*lines[:after], f"{text}\n", *lines[after:]])


def add_line_after(source: str, anchor: str, line: str) -> str:
    """Add a line, or several, behind the last line that the regular expression ``anchor`` finds something in."""
    return _add_line(source, anchor, line, behind=True)


def add_line_before(source: str, anchor: str, line: str) -> str:
    """Add a line, or several, before the first line that the regular expression ``anchor`` finds something in."""
    return _add_line(source, anchor, line, behind=False)


def _add_line(source: str, anchor: str, line: str, *, behind: bool) -> str:
    if f"\n{line.strip(chr(10))}\n" in f"\n{source}\n":
        return source
    found = [number for number, each in enumerate(source.splitlines()) if re.search(anchor, each)]
    if not found:
        raise AnchorError(f"no line that matches {anchor}")
    return _insert_lines(source, found[-1] + 1 if behind else found[0], line)


def add_at_end(source: str, block: str) -> str:
    """Add a block of lines, such as a function, at the end of the text."""
    if block.strip() in source:
        return source
    return f"{source.rstrip()}\n{block}" if source.strip() else block.lstrip("\n")


def add_container(source: str, contract: str, package: str, *, after: str = "") -> str:
    """Add a package to the containers of a contract of .importlinter, behind ``after`` or last."""
    return _add_value(source, contract, "containers", package, after=after)


def add_module(source: str, contract: str, package: str) -> str:
    """Add a package to the modules of a contract of .importlinter."""
    return _add_value(source, contract, "modules", package)


def add_layer_member(source: str, contract: str, beside: str, name: str) -> str:
    """Add a module to the layer of a contract of .importlinter that has the member ``beside``."""
    layers = read_layers(source, contract)
    if any(name in layer for layer in layers):
        return source
    number = _find_layer(source, contract, beside)
    lines = source.splitlines(keepends=True)
    lines[number] = f"{lines[number].rstrip()} | {name}\n"
    return "".join(lines)


def add_layer(source: str, contract: str, above: str, name: str) -> str:
    """Add a layer of its own to a contract of .importlinter, above the layer that has the member ``above``."""
    if any(name in layer for layer in read_layers(source, contract)):
        return source
    return _insert_lines(source, _find_layer(source, contract, above), f"    {name}")


def read_layers(source: str, contract: str) -> list[list[str]]:
    """The members of each layer of a contract of .importlinter, the highest first."""
    first, last = _find_values(source, contract, "layers")
    return [[each.strip(" ()") for each in re.split(r"[|:]", line)] for line in source.splitlines()[first:last]]


def find_contract(source: str, container: str) -> str:
    """The contract of .importlinter that has a container which the regular expression matches."""
    config = ConfigParser(interpolation=None)
    config.read_string(source)
    for section in config.sections():
        containers = config[section].get("containers", "").split()
        if any(re.fullmatch(container, each) for each in containers):
            return section.rpartition(":")[2]
    raise AnchorError(f"no contract with a container {container}")


def _find_layer(source: str, contract: str, member: str) -> int:
    """The number of its line, counted from 0."""
    for number, layer in enumerate(read_layers(source, contract)):
        if member in layer:
            return _find_values(source, contract, "layers")[0] + number
    raise AnchorError(f"no layer with {member} in the contract {contract}")


def _add_value(source: str, contract: str, key: str, value: str, *, after: str = "") -> str:
    first, last = _find_values(source, contract, key)
    values = [line.strip() for line in source.splitlines()[first:last]]
    if value in values:
        return source
    return _insert_lines(source, first + values.index(after) + 1 if after in values else last, f"    {value}")


def _find_values(source: str, contract: str, key: str) -> tuple[int, int]:
    """The numbers of the lines of a value of a contract: from, to, counted from 0."""
    lines = source.splitlines()
    heading = next((at for at, line in enumerate(lines) if line == f"[importlinter:contract:{contract}]"), None)
    if heading is None:
        raise AnchorError(f"no contract {contract}")
    end = next((at for at in range(heading + 1, len(lines)) if lines[at].startswith("[")), len(lines))
    start = next((at + 1 for at in range(heading, end) if re.match(rf"{key}\s*=\s*$", lines[at])), None)
    if start is None:
        raise AnchorError(f"no {key} in the contract {contract}")
    stop = next((at for at in range(start, end) if not lines[at].startswith(" ")), end)
    return start, stop
