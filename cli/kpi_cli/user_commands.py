"""``kpi user``: every function here reads its options, calls one module and prints."""

from pathlib import Path
from typing import Annotated

import typer

from kpi_cli import layout
from kpi_cli.loading import account_loader
from kpi_cli.loading.account_files import AccountFile, Format
from kpi_cli.operations import auth_commands, users

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


@app.command("import")
def import_users(  # noqa: PLR0913 each is an option of the command line
    file: Annotated[Path, typer.Argument(help="CSV with a header (.csv), or JSON lines (.jsonl).", dir_okay=False)],
    *,
    columns: Annotated[str, typer.Option(help="Columns with other names: hash=encrypted_password,email=mail")] = "",
    form: Annotated[Format | None, typer.Option("--format", help="If the ending of the file does not say it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all lines and store nothing.")] = False,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Leave lines with an error out.")] = False,
    admins: Annotated[bool, typer.Option("--admins", help="Allow lines with the role admin.")] = False,
    as_json: Json = False,
) -> None:
    """Import accounts of another system with the hashes of their passwords; a second run changes nothing.

    Fields: username, email, hash, created_at, role, verified. Nothing is stored if a line has an error.
    """
    accounts = AccountFile(file, form, columns)
    options = account_loader.ImportOptions(dry_run=dry_run, keep_going=keep_going, admins=admins)
    with auth_commands.environment(layout.find()) as environment:
        code = account_loader.import_accounts(environment, file, accounts, options, as_json=as_json)
    raise typer.Exit(code)
