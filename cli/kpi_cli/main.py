"""The ``kpi`` command: every function here reads its options, calls one module and prints."""

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kpi_cli import __version__, card, doctor, keys, layout, runner, stack, state, terminal, users
from kpi_cli.errors import KPI, FailureError
from kpi_cli.loading import loader

app = typer.Typer(
    name="kpi",
    help="KPI-One: start the stack, load data, make keys, migrate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(name="keys", help="Keys for tokens.", no_args_is_help=True)
secrets_app = typer.Typer(name="secrets", help="Settings kept in AWS Secrets Manager.", no_args_is_help=True)
app.add_typer(keys_app)
app.add_typer(secrets_app)
user_app = typer.Typer(
    name="user",
    help="Accounts of the local stack, running or stopped, or of the database that DATABASE_URL names.",
    no_args_is_help=True,
)
app.add_typer(user_app)

GENERATE = typer.Option("--generate", help="Make a password and print it once, instead of asking for one.")

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

RUN_HELP = f"""Usage: kpi run PART [COMMAND] [OPTIONS]

Run one part with its own settings, as python -m kpi_PART does. PART is auth, content or gateway, and everything
after it is the part's own; all of that is shown by, for example: {KPI} run auth --help

  COMMAND                 serve (the default), check, or migrate (auth and content)
  --env NAME              development, staging or production: which config/.env.NAME is read
  --host, --port          where to listen (auth 8001, content 8002, gateway 8000, on 127.0.0.1)
  --reload                start again when code changes
  --workers N             processes
  --log-level LEVEL       debug, info, warning or error

With the local stack's database and key: eval "$({KPI} env auth)" && {KPI} run auth"""


@app.callback(invoke_without_command=True)
def _version(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False
) -> None:
    if version:
        print(f"kpi {__version__}")
        raise typer.Exit


@app.command()
def up(
    port: Annotated[
        int | None,
        typer.Option(
            envvar="GATEWAY_PORT",
            min=1,
            max=65535,
            help="The gateway's port; without one 8000 or the next free.",
        ),
    ] = None,
) -> None:
    """Start the whole stack with its own database, and follow its logs until Ctrl-C."""
    where = layout.find()
    console = Console()
    stack.up(where, port, terminal.LogView(), lambda now, took: card.show(console, where, now, took))


@app.command()
def status(
    output: Annotated[card.Format, typer.Option("--output", "-o", help="How to print it.")] = card.Format.CARD,
) -> None:
    """Print the start card again; the exit code is 1 when the stack is not running."""
    where = layout.find()
    now = state.read(where)
    if output is card.Format.JSON:
        print(card.as_json(where, now))
    elif output is card.Format.ENV:
        print(card.as_env(where, now))
    elif now is not None:
        card.show(Console(), where, now)
    if now is None or now.phase is state.Phase.DATABASE:
        raise FailureError("stack", "it is not running", fix="make up")


@app.command(context_settings=PASS_ON)
def run(
    context: typer.Context,
    part: Annotated[str, typer.Argument(help="auth, content or gateway; everything after it is the part's own.")],
) -> None:
    """Run one part with its own settings, as python -m kpi_PART does."""
    if part in {"--help", "-h"}:
        print(RUN_HELP)
        return
    runner.run(layout.find(), part, context.args)


@app.command()
def env(part: Annotated[str, typer.Argument(help="auth, content or gateway.")]) -> None:
    """Print the local stack's settings of one part for a shell: eval "$(.venv/bin/kpi env content)"."""
    print(runner.exports(layout.find(), part))


@app.command()
def migrate(
    service: Annotated[str | None, typer.Argument(help="auth or content; both without one.")] = None,
) -> None:
    """Bring the databases to the newest migration: the local stack's, or the one that DATABASE_URL names."""
    runner.migrate(layout.find(), service)


@app.command()
def load(
    file: Annotated[Path | None, typer.Argument(help="Posts, one JSON object a line, gzipped or plain.")] = None,
) -> None:
    """Load posts with their authors and votes into the local stack, running or stopped."""
    where = layout.find()
    chosen = file or where.checkout / "data" / "hacker_news.jsonl.gz"
    loader.load(where, Path(where.show(chosen)), Console())


@app.command("doctor")
def doctor_command(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False
) -> None:
    """Look at everything that the stack needs, and say what is wrong, why, and what mends it.

    Nothing is changed. The database of a stopped stack is started to be looked at, and stopped again.
    """
    findings = doctor.examine(layout.find())
    doctor.show_json(findings) if as_json else doctor.show(findings, Console())
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@keys_app.command("new")
def new_key() -> None:
    """Print a fresh PASETO key: 64 hex digits from the system's generator."""
    print(keys.new())


@user_app.command("create")
def create_user(
    username: Annotated[str, typer.Argument(help="3 to 32 letters, digits and _ . -")],
    *,
    email: Annotated[str | None, typer.Option(help="The e-mail address, if there is one.")] = None,
    role: Annotated[users.Role, typer.Option(help="What the account may do.")] = users.Role.USER,
    generate: Annotated[bool, GENERATE] = False,
) -> None:
    """Make an account. Its password is asked for twice, or is the first line of standard input."""
    users.create(layout.find(), username=username, email=email, role=role, generate=generate)


@user_app.command("reset-password")
def reset_password(
    username: Annotated[str, typer.Argument(help="Whose password, in any case.")],
    *,
    generate: Annotated[bool, GENERATE] = False,
) -> None:
    """Give an account another password, end all its sessions, and tell the owner by mail where mail is set up."""
    users.reset_password(layout.find(), username=username, generate=generate)


@user_app.command("list")
def list_users(
    search: Annotated[str | None, typer.Option(help="The beginning of a username or an e-mail address.")] = None,
    role: Annotated[users.Role | None, typer.Option(help="Only accounts of this role.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
) -> None:
    """List accounts by name: a table, or lines with tabs where the output is no terminal."""
    users.show(layout.find(), search=search, role=role, limit=limit)


@secrets_app.command("push")
def push(
    template: Annotated[Path, typer.Argument(help="A filled-in copy of cli/kpi_cli/templates/secret.json.example.")],
    name: Annotated[str, typer.Option(envvar="AWS_SECRET_NAME", help="The secret's name.")],
    region: Annotated[str, typer.Option(envvar="AWS_REGION", help="Its AWS region.")],
    endpoint_url: Annotated[
        str | None, typer.Option(envvar="AWS_ENDPOINT_URL", help="Another endpoint than AWS's own.")
    ] = None,
) -> None:
    """Create or update a secret in AWS Secrets Manager from a template; values are never printed."""
    from kpi_cli import aws  # noqa: PLC0415 - boto3 takes longer to import than most commands to run

    done = aws.push(template, name=name, region=region, endpoint_url=endpoint_url)
    print(f"kpi: {done} the secret {name} in {region}")


def main() -> None:
    """The program: a failure is one sentence on standard error, whatever its kind."""
    # Without this a SIGTERM would end Python at once, and a database that a command started would go on.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        app()
    except FailureError as failure:
        _leave(failure)
    except OSError as error:
        _leave(_system_failure(error))


def _system_failure(error: OSError) -> FailureError:
    where = f" ({error.filename})" if error.filename else ""
    home = layout.find().home
    fixes = {
        errno.ENOSPC: "free some space, then try again",
        errno.EACCES: f"run the command as the user who owns {home}",
        errno.EPERM: f"run the command as the user who owns {home}",
    }
    part = "disk" if error.errno in {errno.ENOSPC, errno.EROFS, errno.EDQUOT} else "system"
    # The doctor itself must not send people to the doctor.
    otherwise = "" if "doctor" in sys.argv else f"{KPI} doctor"
    return FailureError(part, f"{os.strerror(error.errno or 0)}{where}", fix=fixes.get(error.errno or 0, otherwise))


def _leave(failure: FailureError) -> None:
    print("\n".join(failure.lines()), file=sys.stderr)
    sys.exit(failure.code)
