"""``kpi config``: every setting of every part, and the example files of settings."""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from kpi_cli import auth_process
from kpi_cli.layout import Layout
from kpi_cli.operations import part_environments, tables
from kpi_cli.parts import Part

_COLUMNS = ("part", "name", "value", "from", "default", "type", "description")
_STACK = "local-stack"
_WORDS = {"default": "default", "not-set": "not set", _STACK: "the local stack"}
_COLOURS = {"default": "dim", "not-set": "bold yellow"}


def print_settings(layout: Layout, parts: Sequence[Part], *, only_changed: bool, as_json: bool) -> None:
    """Print all settings, or those that differ from their defaults, and what prevents a start."""
    reports = [_select(report, only_changed=only_changed) for report in _ask_all(layout, parts)]
    if as_json:
        print(json.dumps({"parts": reports}, indent=2))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        tables.print_rows(_COLUMNS, [_row(report["part"], it) for report in reports for it in report["settings"]])
    for report in reports:
        if console.is_terminal:
            _print_part(console, report)
        _print_problems(report)


def write_examples(layout: Layout, parts: Sequence[Part], *, as_json: bool) -> None:
    """Write config/.env.example of each part, and say which of them were not up to date."""
    written = []
    for part, report in zip(parts, _ask_all(layout, parts), strict=True):
        path = layout.checkout / part.folder / "config" / ".env.example"
        if not path.exists() or path.read_text(encoding="utf-8") != report["example"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(report["example"], encoding="utf-8")
            written.append(layout.shorten(path))
    if as_json:
        print(json.dumps({"written": written}))
    else:
        print("\n".join(f"kpi: wrote {path}" for path in written) or "kpi: the example files are up to date")


def _ask_all(layout: Layout, parts: Sequence[Part]) -> list[dict[str, Any]]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda part: _ask(layout, part), parts))


def _ask(layout: Layout, part: Part) -> dict[str, Any]:
    environment = part_environments.find(layout, part)
    report = auth_process.run(environment, "settings", {}, part=part)
    for setting in report["settings"]:
        variable = setting["name"] if setting["origin"] == "environment" else f"{setting['name']}_FILE"
        if setting["origin"] in {"environment", "file"} and part_environments.is_given(variable, environment):
            setting["origin"] = _STACK
    return report


def _select(report: dict[str, Any], *, only_changed: bool) -> dict[str, Any]:
    """Without the text of the example file, which is for ``--init``."""
    kept = [it for it in report["settings"] if not only_changed or it["is_changed"] or it["problem"]]
    return {name: value for name, value in report.items() if name != "example"} | {"settings": kept}


def _row(part: str, setting: Mapping[str, Any]) -> dict[str, Any]:
    return {**setting, "part": part, "from": _describe_origin(setting)}


def _describe_origin(setting: Mapping[str, Any]) -> str:
    """In words for people: a variable is named if it has another name than the setting."""
    origin, place = str(setting["origin"]), setting["place"]
    if origin in _WORDS:
        return _WORDS[origin]
    if origin == "environment":
        return "the environment"
    return f"the AWS secret {place}" if origin == "aws-secret" else str(place)


def _print_part(console: Console, report: Mapping[str, Any]) -> None:
    where = report["settings_file"] or "none"
    console.print(Text.assemble((report["part"], "bold"), f"  (settings file: {where})"), soft_wrap=True)
    group = None
    for setting in report["settings"]:
        if setting["group"] != group:
            group = setting["group"]
            console.print(Text(f"\n  {group}", style="bold"))
        console.print(_describe_value(setting), soft_wrap=True)
        console.print(Padding(Text(setting["description"], style="dim"), (0, 0, 0, 6), expand=False))
    console.print()


def _describe_value(setting: Mapping[str, Any]) -> Text:
    colour = _COLOURS.get(setting["origin"], "green")
    shown = "" if setting["value"] is None else setting["value"]
    default = f"; default: {setting['default']}" if setting["default"] and setting["is_changed"] else ""
    about = f"  ({_describe_origin(setting)}; {setting['type']}{default})"
    return Text.assemble("    ", (f"{setting['name']}={shown}", colour), about)


def _print_problems(report: Mapping[str, Any]) -> None:
    problems: Iterable[str] = report["problems"]
    for problem in problems:
        tables.report_problem(f"{report['part']}: it cannot start: {problem}")
