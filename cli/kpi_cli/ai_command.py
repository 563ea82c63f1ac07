"""``kpi ai``: words into a plan of ``kpi make`` commands, which is shown, and made after a yes."""

import json
import os
import sys
from typing import Annotated

import typer
from typer.core import TyperGroup

from kpi_cli import layout, make_commands
from kpi_cli.errors import FailureError
from kpi_cli.generate.options import Json

Words = Annotated[list[str], typer.Argument(help='What is wanted, as "a blog with posts and comments".')]
Execute = Annotated[bool, typer.Option("--execute", "-e", help="Make what is planned without asking.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-d", help="Show the plan only.")]


def make_from_words(words: Words, *, execute: Execute = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Turn words into a plan of kpi make commands, show it, and make it after confirmation.

    The words and the names of the tables that there are go to the endpoint of KPI_AI_URL, any that has

    OpenAI's API of chat completions, for the model KPI_AI_MODEL, with the key KPI_AI_KEY.

    An answer may contain nothing but commands of kpi make with valid arguments. All of them are made, or none.
    """
    from kpi_cli.generate import applying  # noqa: PLC0415 - httpx and Jinja2 take longer than most commands
    from kpi_cli.generate.ai import carrying_out, planning  # noqa: PLC0415 - as above
    from kpi_cli.generate.pieces.planners import PLANNERS  # noqa: PLC0415 - as above

    if execute and dry_run:
        raise FailureError("ai", "--execute and --dry-run exclude each other", code=2)
    where = layout.find()
    group = typer.main.get_command(make_commands.app)
    assert isinstance(group, TyperGroup)  # noqa: S101 it has several commands
    planned = planning.ask_for_plan(where, " ".join(words), os.environ, group=group, planners=PLANNERS)
    plans = carrying_out.check(where, planned)
    if not as_json:
        _show([str(item.command) for item in planned])
    if dry_run or not (execute or _is_confirmed(as_json=as_json)):
        if as_json:
            print(json.dumps({"commands": [str(item.command) for item in planned], "made": False}))
        return
    applying.run_plan(where, carrying_out.join(planned, plans), dry_run=False, force=False, as_json=as_json)


def _show(commands: list[str]) -> None:
    print("kpi: the plan:")
    for command in commands:
        print(f"  {command}")


def _is_confirmed(*, as_json: bool) -> bool:
    """A program that reads JSON is asked nothing, and says -e if it wants the plan made."""
    if as_json:
        return False
    try:
        if typer.confirm("Make all of this?"):
            return True
    except typer.Abort:
        # The end of the input is no yes.
        print()
    print("kpi: nothing was made", file=sys.stderr)
    raise typer.Exit(1)
