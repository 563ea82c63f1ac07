"""What holds for each command: help texts, JSON, suggestions for misspelt words, and the page that lists them all."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kpi_cli.main import app
from kpi_cli.operations import command_docs
from typer.main import get_command
from typer.testing import CliRunner

CHECKOUT = Path(__file__).parents[2]
# A stack's logs until it is stopped, and whatever a part prints.
WITHOUT_JSON = {"kpi up", "kpi run"}
HEAVY = ("boto3", "copier", "httpx", "inflect", "jinja2", "typer.cli")


class Found(NamedTuple):
    path: str
    command: Any
    context: Any


def find_commands() -> Iterator[Found]:
    root = get_command(app)
    yield from (Found(*each) for each in command_docs.walk(root, root.context_class(root, info_name="kpi")))


def find_leaves() -> list[Found]:
    return [found for found in find_commands() if not hasattr(found.command, "list_commands")]


def test_each_command_that_prints_has_json() -> None:
    without = {
        found.path
        for found in find_leaves()
        if not any("--json" in parameter.opts for parameter in found.command.get_params(found.context))
    }
    assert without == WITHOUT_JSON


def test_each_command_and_each_of_its_parameters_has_a_help_text() -> None:
    silent = [found.path for found in find_commands() if not (found.command.help or "").strip()]
    parameters = [(each.path, it) for each in find_leaves() for it in each.command.get_params(each.context)]
    silent += [f"{path} {it.name}" for path, it in parameters if not it.hidden and not (it.help or "").strip()]
    assert silent == []


def test_the_page_of_all_commands_is_up_to_date() -> None:
    root = get_command(app)
    rendered = command_docs.render(root.context_class(root, info_name="kpi"))
    assert (CHECKOUT / "docs" / "commands.md").read_text() == rendered, "kpi docs --write docs/commands.md"


def test_a_misspelt_command_or_option_gets_a_suggestion_at_each_level() -> None:
    runner = CliRunner()
    for found in find_commands():
        words = found.path.split()[1:]
        # What these do not know is for the program that they become.
        if found.command.context_settings.get("ignore_unknown_options") and found.path != "kpi migrate":
            continue
        if hasattr(found.command, "list_commands"):
            known = found.command.list_commands(found.context)[0]
            result = runner.invoke(app, [*words, f"{known}x"])
            assert result.exit_code == 2, found.path
            assert f"Did you mean '{known}'?" in result.output or f"'{known}'" in result.output, found.path
        elif "--json" in {option for each in found.command.get_params(found.context) for option in each.opts}:
            result = runner.invoke(app, [*words, "--jsonn"])
            shown = f"{result.output}{result.exception}".replace("--jsonn", "")
            assert getattr(result.exception, "code", None) == 2, found.path
            assert "--json" in shown, found.path


def test_the_help_is_printed_without_what_is_slow_to_import() -> None:
    program = "import sys, kpi_cli.main; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(HEAVY).isdisjoint(result.stdout.split())


@pytest.mark.parametrize("word", ["rotues", "confgi", "lgos"])
def test_the_likely_command_is_suggested(word: str) -> None:
    meant = {"rotues": "routes", "confgi": "config", "lgos": "logs"}[word]
    assert f"Did you mean '{meant}'?" in CliRunner().invoke(app, [word]).output
