"""What a command of ``kpi make`` changes, for people and as JSON."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from kpi_cli.generate.scratch import File, read


def diff(checkout: Path, path: str, file: File) -> str:
    """The unified diff of one file."""
    before = read(checkout / path)
    lines = difflib.unified_diff(
        _lines(before),
        _lines(file),
        f"a/{path}" if before else "/dev/null",
        f"b/{path}",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(file: File | None) -> list[str]:
    return file.content.decode(errors="replace").splitlines(keepends=True) if file else []


# By how the line of a diff begins.
_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def print_preview(console: Console, checkout: Path, files: Mapping[str, File]) -> None:
    """The tree of the files and their diffs, with colours at a terminal only."""
    console.print(_tree(checkout, files))
    for path, file in files.items():
        text = diff(checkout, path, file)
        if not console.is_terminal:
            # Not through rich, which would wrap long lines.
            print(text, end="")
            continue
        for line in text.splitlines():
            console.print(Text(line, style=_STYLES.get(line[:1], "")), soft_wrap=True)


def _tree(checkout: Path, files: Mapping[str, File]) -> Tree:
    root = Tree(f"{checkout.name}/", highlight=False)
    branches: dict[Path, Tree] = {Path(): root}
    for path in files:
        *folders, _ = reversed(Path(path).parents)
        for each in (*folders[1:], Path(path).parent):
            if each not in branches:
                branches[each] = branches[each.parent].add(f"{each.name}/")
        is_new = not (checkout / path).exists()
        branches[Path(path).parent].add(
            f"{Path(path).name} {'(new)' if is_new else '(changed)'}", style="green" if is_new else "yellow"
        )
    return root


def as_json(checkout: Path, title: str, files: Mapping[str, File], *, with_diff: bool) -> dict[str, Any]:
    """The same as a JSON object."""
    rows = [
        {"path": path, "change": "changed" if (checkout / path).exists() else "new"}
        | ({"diff": diff(checkout, path, file)} if with_diff else {})
        for path, file in files.items()
    ]
    return {"title": title, "files": rows}
