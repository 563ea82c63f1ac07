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
    part: Annotated[str, typer.Argument(help=f"{events.FOLLOWING}: what it made of the events is built anew.")],
    *,
    as_json: Json = False,
) -> None:
    """Drop what a part made of auth's events, and build it anew from all accounts. It may run meanwhile.

    Authors of posts whose accounts auth does not know stay as they are.
    """
    events.rebuild(layout.find(), part, as_json=as_json)


@app.command("status")
def print_status(*, as_json: Json = False) -> None:
    """Print how far auth's events have been read, and how far they go."""
    events.print_status(layout.find(), as_json=as_json)


@app.command("outlets")
def print_outlets(*, as_json: Json = False) -> None:
    """Print how far each outlet of events has come, and why it does not go on. DATABASE_URL is that of auth here."""
    events.print_outlets(layout.find(), as_json=as_json)
