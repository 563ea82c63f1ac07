"""``kpi queue``: every function here reads its options, calls one module and prints."""

from typing import Annotated

import typer

from kpi_cli import layout, parts
from kpi_cli.operations import completion, queues

app = typer.Typer(
    name="queue",
    help="The jobs of the services: in the local stack, running or stopped, or in the database of DATABASE_URL.",
    no_args_is_help=True,
)

ANY_SERVICE = parts.join_names(parts.WITH_DATABASE, "or")
Service = Annotated[
    str | None,
    typer.Option("--service", "-s", help=f"{ANY_SERVICE}.", autocompletion=completion.complete_service),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


@app.command("status")
def print_status(service: Service = None, *, as_json: Json = False) -> None:
    """Print how many jobs of each queue are waiting, scheduled, running and failed."""
    queues.print_status(layout.find(), service, as_json=as_json)


@app.command("failed")
def print_failed(
    service: Service = None,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="The maximum, for each service.")] = 100,
    as_json: Json = False,
) -> None:
    """List the jobs that were given up after their last attempt, the newest first.

    A job of a chain also shows the jobs that have not started because of it.
    """
    queues.print_failed(layout.find(), service, limit=limit, as_json=as_json)


@app.command("retry")
def retry(
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", min=1, help="From kpi queue failed.")] = None,
    *,
    service: Service = None,
    is_all: Annotated[bool, typer.Option("--all", help="All failed jobs of the service.")] = False,
    as_json: Json = False,
) -> None:
    """Let failed jobs start anew, with all their attempts; the rest of a chain follows."""
    queues.retry(layout.find(), service, ids or [], is_all=is_all, as_json=as_json)


@app.command("forget")
def forget(
    ids: Annotated[list[int], typer.Argument(metavar="ID...", min=1, help="From kpi queue failed.")],
    *,
    service: Service = None,
    as_json: Json = False,
) -> None:
    """Remove failed jobs for good, with the rest of their chains."""
    queues.forget(layout.find(), service, ids, as_json=as_json)
