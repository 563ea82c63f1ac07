"""``docs/commands.md``: the reference of all commands, made from their help texts.

Looked at: typer's own `utils docs`, which cuts the sentence about each command after 45 characters.
"""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kpi_cli.errors import KPI, FailureError

_HEAD = f"""# The commands

All commands of `kpi`, which is `{KPI}` in a checkout. At a terminal: `{KPI} COMMAND --help`. To complete them
with the Tab key: `eval "$({KPI} completion bash)"`. With `--json`, standard output is one JSON value.

This page is written by `{KPI} docs --write docs/commands.md`, and a test compares the two.
"""


def walk(command: Any, context: Any, path: str = "kpi") -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401 typer's types are private
    """A command and all below it, each with its path and its context."""
    yield path, command, context
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        found = command.get_command(context, name)
        if found is not None and not found.hidden:
            inner = found.context_class(found, info_name=name, parent=context)
            yield from walk(found, inner, f"{path} {name}")


def render(root: Any) -> str:  # noqa: ANN401 as above
    """The page, of the command that this context is the root of."""
    found = [each for each in walk(root.command, root) if not hasattr(each[1], "list_commands")]
    rows = [f"| [`{path}`](#{path.replace(' ', '-')}) | {_first_sentence(command)} |" for path, command, _ in found]
    sections = [line for path, command, context in found for line in _describe(path, command, context)]
    return "\n".join([_HEAD, "| command | |", "|---|---|", *rows, *sections]) + "\n"


def _first_sentence(command: Any) -> str:  # noqa: ANN401 as above
    first = " ".join(inspect.cleandoc(command.help or "").partition("\n\n")[0].split())
    return first.replace("|", "\\|")


def _describe(path: str, command: Any, context: Any) -> Iterator[str]:  # noqa: ANN401 as above
    yield from ("", f"## {path}", "", inspect.cleandoc(command.help or ""), "")
    yield from ("```console", f"$ {path} {' '.join(command.collect_usage_pieces(context))}", "```")
    records = [record for each in command.get_params(context) if (record := each.get_help_record(context)) is not None]
    listed = [f"- `{name}`: {' '.join(text.split())}" for name, text in records if name != "--help"]
    yield from ["", *listed] if listed else []


def write(root: Any, file: Path, *, as_json: bool) -> None:  # noqa: ANN401 as above
    file.write_text(render(root), encoding="utf-8")
    print(json.dumps({"written": str(file)}) if as_json else f"kpi: wrote {file}")


def check(root: Any, file: Path, *, as_json: bool) -> None:  # noqa: ANN401 as above
    """Raise FailureError when a file is not what would be written."""
    if not file.exists() or file.read_text(encoding="utf-8") != render(root):
        raise FailureError("docs", f"{file} is not up to date", fix=f"{KPI} docs --write {file}")
    print(json.dumps({"up_to_date": str(file)}) if as_json else f"kpi: {file} is up to date")
