"""``kpi make``: every function here reads its options, calls one module and prints."""

import typer

from kpi_cli import layout, make_piece_commands
from kpi_cli.generate import applying
from kpi_cli.generate.options import Json

app = typer.Typer(
    name="make",
    help="Write code of this house: resources, services, and single pieces. It is yours from then on.",
    no_args_is_help=True,
)


@app.command("undo")
def undo(*, as_json: Json = False) -> None:
    """Take back the last command of kpi make, if its files are unchanged; again for the one before it."""
    applying.undo(layout.find(), as_json=as_json)


make_piece_commands.add_to(app)
