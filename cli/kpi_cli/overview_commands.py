"""``kpi routes``: every function here reads its options, calls one module and prints."""

from typing import Annotated

import typer

from kpi_cli.operations import routes

app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON value.")]


@app.command("routes")
def print_routes(
    service: Annotated[str | None, typer.Option(help="Only operations of this service.")] = None,
    method: Annotated[str | None, typer.Option(help="Only operations with this method.")] = None,
    path: Annotated[str, typer.Option(help="Only operations whose path contains this text.")] = "",
    access: Annotated[routes.Access | None, typer.Option(help="Only operations that these callers may use.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """List the operations of the API: path, service, who may call it, and the gateway's limits. Nothing has to run.

    public: everyone. read, write: an account, or an API key with this scope.

    admin: an admin, or an admin's API key with this scope. person: an account that has signed in; no API key.
    """
    wanted = routes.Filter(service=service, method=method, path=path, access=access)
    routes.print_routes(wanted, as_json=as_json)
