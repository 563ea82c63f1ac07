"""``kpi make``: every function here reads its options, calls one module and prints."""

from difflib import get_close_matches
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kpi_cli import layout, make_piece_commands, make_service_command, spellings
from kpi_cli.generate.options import DryRun, Force, Json
from kpi_cli.operations import completion


class _Group(TyperGroup):
    """Where an unknown command is close to no other, it may be close to a spelling of Fastpy's."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 typer has click's types of its own
        if args and not get_close_matches(args[0], self.commands) and (meant := spellings.suggest("make", args[0])):
            ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="make",
    cls=_Group,
    help="Write code in the style of this project: resources, services and single pieces. You own it from then on.",
    no_args_is_help=True,
)


@app.command("resource")
def make_resource(  # noqa: PLR0913 each option is a parameter
    name: Annotated[str, typer.Argument(help="The noun in the singular, as OrderItem or order-item.")],
    service: Annotated[
        str,
        typer.Option(
            "--service", "-s", help="The service that it goes into.", autocompletion=completion.complete_service
        ),
    ] = "content",
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field", "-f", metavar="NAME:KIND:RULES", help="A field, as price:money:required,ge:0 (repeatable)."
        ),
    ] = None,
    belongs_to: Annotated[
        list[str] | None,
        typer.Option(
            "--belongs-to",
            metavar="TABLE",
            help="A table to which each row refers; rows are deleted with the row that they refer to (repeatable).",
        ),
    ] = None,
    plural: Annotated[str | None, typer.Option(help="The plural, where the usual one is wrong.")] = None,
    *,
    soft_deletes: Annotated[bool, typer.Option("--soft-deletes", help="Admins can restore what was deleted.")] = False,
    public: Annotated[bool, typer.Option("--public", help="Reading needs no token; writing needs one.")] = False,
    protected: Annotated[
        bool,
        typer.Option(
            "--protected", "-p", help="Every account reads all rows and, without owner:owner, changes them (default)."
        ),
    ] = False,
    admin: Annotated[bool, typer.Option("--admin", help="Only admins read and write.")] = False,
    dry_run: DryRun = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a noun with its table, endpoints, migration, tests and route through the gateway.

    kpi make resource Product -f title:string:required,max:200 -f price:money:required,ge:0 -f owner:owner
    """
    make_piece_commands.run(
        "resource",
        name=name,
        service=service,
        fields=fields,
        belongs_to=belongs_to,
        plural=plural,
        soft_deletes=soft_deletes,
        public=public,
        protected=protected,
        admin=admin,
        dry_run=dry_run,
        force=force,
        as_json=as_json,
    )


app.command("service")(make_service_command.make_service)


@app.command("undo")
def undo(*, as_json: Json = False) -> None:
    """Take back the last command of kpi make, if its files are unchanged; again for the one before it."""
    from kpi_cli.generate import applying  # noqa: PLC0415 - as above

    applying.undo(layout.find(), as_json=as_json)


make_piece_commands.add_to(app)
