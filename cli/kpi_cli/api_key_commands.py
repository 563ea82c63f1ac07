"""``kpi api-key`` and ``kpi bootstrap``: every function here reads its options, calls one module and prints."""

from typing import Annotated

import typer

from kpi_cli import layout
from kpi_cli.operations import api_keys

app = typer.Typer(
    name="api-key",
    help="API keys in the local stack, running or stopped, or in the database that DATABASE_URL names.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
KeyId = Annotated[
    int, typer.Argument(min=1, help="The key's id: the number in its text, after kpi_live_ or kpi_test_.")
]


@app.command("create")
def create(
    username: Annotated[str, typer.Argument(help="The owner, for whom the key acts.")],
    *,
    name: Annotated[str, typer.Option(help="What the key is for.")],
    scopes: Annotated[str, typer.Option(help="read, write or admin, separated by commas.")] = "read",
    expires_in: Annotated[str | None, typer.Option(help="When it ends, such as 12h or 90d; by default never.")] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="Where it may be used from (repeatable): 192.0.2.0/24.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it once."""
    request = {
        "username": username,
        "name": name,
        "scopes": scopes,
        "allowed_networks": network or None,
    }
    api_keys.create(layout.find(), request, expires_in=expires_in, as_json=as_json)


@app.command("list")
def print_list(
    username: Annotated[str | None, typer.Option("--user", help="Only the keys of this account.")] = None,
    state: Annotated[api_keys.State | None, typer.Option(help="Only keys in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The maximum number of keys.")] = 100,
    *,
    as_json: Json = False,
) -> None:
    """List keys, newest first: a table at a terminal, and lines with tabs otherwise."""
    api_keys.print_list(layout.find(), username=username, state=state, limit=limit, as_json=as_json)


@app.command("rotate")
def rotate(
    key_id: KeyId,
    *,
    grace: Annotated[str, typer.Option(help="How long both keys work: 0s to 7d.")] = "0s",
    as_json: Json = False,
) -> None:
    """Replace a key by a new one with the same rights, and print that once."""
    api_keys.rotate(layout.find(), key_id=key_id, grace=grace, as_json=as_json)


@app.command("revoke")
def revoke(key_id: KeyId, *, as_json: Json = False) -> None:
    """Delete a key: within 5 seconds it is refused everywhere."""
    api_keys.revoke(layout.find(), key_id=key_id, as_json=as_json)


def bootstrap(
    username: Annotated[str, typer.Option(help="The name of the first admin.")] = "admin",
    email: Annotated[str | None, typer.Option(help="The e-mail address, if there is one.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Make the first admin and an API key with all rights, and print both once. It works once for an installation."""
    api_keys.bootstrap(layout.find(), username=username, email=email, as_json=as_json)
