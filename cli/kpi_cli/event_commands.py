"""``kpi events``: every function here reads its options, calls one module and prints."""

from typing import Annotated

import typer

from kpi_cli import layout
from kpi_cli.operations import events

app = typer.Typer(
    name="events",
    help="Auth's events in the parts that follow them: in the running local stack, or where DATABASE_URL leads.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


@app.command("rebuild")
def rebuild(
    part: Annotated[str, typer.Argument(help=f"The part whose copy is rebuilt: {events.WITH_INBOX}.")],
    *,
    as_json: Json = False,
) -> None:
    """Delete a part's copy of auth's accounts and rebuild it from all accounts. The part may be running.

    Authors of posts whose accounts auth does not know stay as they are.
    """
    events.rebuild(layout.find(), part, as_json=as_json)


@app.command("status")
def print_status(*, as_json: Json = False) -> None:
    """Print the newest event of auth that content has applied, and the newest event that there is."""
    events.print_status(layout.find(), as_json=as_json)


@app.command("outlets")
def print_outlets(*, as_json: Json = False) -> None:
    """Print the position of each outlet of events, and the error that stops it. DATABASE_URL must be auth's."""
    events.print_outlets(layout.find(), as_json=as_json)
