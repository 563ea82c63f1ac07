"""``kpi mail``: every function here reads its options, calls one module and prints."""

from typing import Annotated

import typer

from kpi_cli import layout
from kpi_cli.operations import mails

app = typer.Typer(
    name="mail",
    help="The e-mails that the local stack has written to files, as it does unless MAIL_URL is set.",
    invoke_without_command=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Number = Annotated[int | None, typer.Argument(min=1, help="The number in the list; the newest mail by default.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="The maximum number of mails.")]


@app.callback()
def print_all(context: typer.Context) -> None:
    """As `kpi mail list`, if no command follows."""
    if context.invoked_subcommand is None:
        mails.print_list(layout.find(), limit=20, as_json=False)


@app.command("list")
def print_list(limit: Limit = 20, *, as_json: Json = False) -> None:
    """List mails, newest first, with the link in each: a table at a terminal, and lines with tabs otherwise."""
    mails.print_list(layout.find(), limit=limit, as_json=as_json)


@app.command("show")
def show(number: Number = None, *, as_json: Json = False) -> None:
    """Print the headers and the text of a mail."""
    mails.show(layout.find(), number, as_json=as_json)


@app.command("open")
def open_in_browser(number: Number = None, *, as_json: Json = False) -> None:
    """Open the HTML of a mail in the browser, or print the path of its file if there is no browser."""
    mails.open_in_browser(layout.find(), number, as_json=as_json)
