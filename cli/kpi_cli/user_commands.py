"""``kpi user``: every function here reads its options, calls one module and prints."""

from typing import Annotated

import typer

from kpi_cli import layout
from kpi_cli.operations import users

app = typer.Typer(
    name="user",
    help="Accounts of the local stack, running or stopped, or of the database that DATABASE_URL names.",
    no_args_is_help=True,
)

GENERATE = typer.Option("--generate", help="Generate a password and print it once, instead of asking for one.")
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


@app.command("create")
def create_user(
    username: Annotated[str, typer.Argument(help="3 to 32 letters, digits and _ . -")],
    *,
    email: Annotated[str | None, typer.Option(help="The e-mail address, if there is one.")] = None,
    role: Annotated[users.Role, typer.Option(help="What the account may do.")] = users.Role.USER,
    generate: Annotated[bool, GENERATE] = False,
    as_json: Json = False,
) -> None:
    """Create an account. Its password is asked for twice, or is the first line of standard input."""
    users.create(layout.find(), username=username, email=email, role=role, generate=generate, as_json=as_json)


@app.command("reset-password")
def reset_password(
    username: Annotated[str, typer.Argument(help="The account's username, in any case.")],
    *,
    generate: Annotated[bool, GENERATE] = False,
    as_json: Json = False,
) -> None:
    """Replace an account's password, end all its sessions, and notify its owner by e-mail where that is set up."""
    users.reset_password(layout.find(), username=username, generate=generate, as_json=as_json)


@app.command("list")
def list_users(
    search: Annotated[str | None, typer.Option(help="The beginning of a username or an e-mail address.")] = None,
    role: Annotated[users.Role | None, typer.Option(help="Only accounts with this role.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The maximum number of accounts.")] = 100,
    *,
    as_json: Json = False,
) -> None:
    """List accounts by username: a table at a terminal, and lines with tabs otherwise."""
    users.print_list(layout.find(), search=search, role=role, limit=limit, as_json=as_json)
