"""The ``kpi`` command: every function here reads its options, calls one module and prints."""

import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kpi_cli import (
    PRODUCT,
    __version__,
    ai_command,
    api_key_commands,
    db_commands,
    event_commands,
    key_commands,
    layout,
    mail_commands,
    make_commands,
    overview_commands,
    parts,
    project_commands,
    queue_commands,
    spellings,
    user_commands,
)
from kpi_cli.errors import KPI, FailureError
from kpi_cli.loading import loader
from kpi_cli.operations import audit, completion, doctor, openapi, part_commands
from kpi_cli.stack import card, processes, screen, state, terminal, up

app = typer.Typer(
    name="kpi",
    help=f"{PRODUCT}: run the platform, write code for it, and look after its data, keys and accounts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
secrets_app = typer.Typer(name="secrets", help="Settings in AWS Secrets Manager.", no_args_is_help=True)
app.add_typer(key_commands.app)
app.add_typer(make_commands.app)
app.add_typer(db_commands.app)
app.command("ai")(ai_command.make_from_words)
app.command("new")(project_commands.new)
app.command("upgrade")(project_commands.upgrade)
app.add_typer(event_commands.app)
app.add_typer(queue_commands.app)
app.add_typer(secrets_app)
app.add_typer(user_commands.app)
app.add_typer(api_key_commands.app)
app.add_typer(overview_commands.app)
app.add_typer(mail_commands.app)
app.command("bootstrap")(api_key_commands.bootstrap)
audit_app = typer.Typer(
    name="audit",
    help="The audit trail of the local stack, running or stopped, or of the database that DATABASE_URL names.",
    no_args_is_help=True,
)
app.add_typer(audit_app)

AnyPart = Annotated[
    str, typer.Argument(help=f"{parts.join_names(parts.PARTS, 'or')}.", autocompletion=completion.complete_part)
]
PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

ANY_PART = parts.join_names(parts.PARTS, "or")
DEFAULT_PORTS = ", ".join(f"{part.name} {part.port}" for part in parts.PARTS)
WITH_DATABASE = parts.join_names(parts.WITH_DATABASE, "and")
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
MIGRATED = f"SERVICE is {parts.join_names(parts.WITH_DATABASE, 'or')}; without one, all are migrated."

RUN_HELP = f"""Usage: kpi run PART [COMMAND] [OPTIONS]

Run one part with its own settings, as python -m kpi_PART does. PART is {ANY_PART}.
All further arguments are passed to the part. For the complete list: {KPI} run auth --help

  COMMAND                 serve (the default), check, openapi, or migrate ({WITH_DATABASE})
  --env NAME              development, staging or production: selects config/.env.NAME
  --host, --port          where to listen (on 127.0.0.1 by default; ports: {DEFAULT_PORTS})
  --reload                restart when code changes
  --workers N             number of processes
  --log-level LEVEL       debug, info, warning or error

With the local stack's database and key: eval "$({KPI} env auth)" && {KPI} run auth"""


@app.callback(invoke_without_command=True)
def _print_version(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False
) -> None:
    if version:
        print(f"kpi {__version__}")
        raise typer.Exit


@app.command("up")
def start_stack(
    port: Annotated[
        int | None,
        typer.Option(
            envvar="GATEWAY_PORT",
            min=1,
            max=65535,
            help=f"The gateway's port; by default {parts.GATEWAY.port} or the next free one.",
        ),
    ] = None,
) -> None:
    """Start the whole stack with its own database, and follow its logs until Ctrl-C."""
    where = layout.find()
    view = terminal.LogView(f"{where.shorten(where.logs)}/")
    try:
        up.run(where, port, view, lambda now, took: view.print_text(card.render(Console(), where, now, took)))
    except (FailureError, OSError) as error:
        failure = error if isinstance(error, FailureError) else _system_failure(error)
        view.close()
        # A terminal that is not read must not keep a stack that has ended from exiting.
        screen.print_in_time("\n".join(failure.lines()), sys.stderr)
        raise typer.Exit(failure.code) from None
    finally:
        view.close()


@app.command("status")
def print_status(
    output: Annotated[card.Format, typer.Option("--output", "-o", help="The format of the output.")] = card.Format.CARD,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
) -> None:
    """Print the start card again; the exit code is 1 when the stack is not running."""
    where = layout.find()
    now = state.read(where)
    left = state.find_leftovers(where)
    if as_json or output is card.Format.JSON:
        print(card.as_json(where, now, left))
    elif output is card.Format.ENV:
        print(card.as_env(where, now, left))
    elif now is not None:
        card.show(Console(), where, now)
    if left:
        raise FailureError(
            "stack",
            f"it was killed, but some of its processes are still running: {processes.describe(left)}",
            fix=f"{processes.stop_command(left)}, or stop them and start again: make up",
        )
    if now is None or now.phase is state.Phase.DATABASE:
        raise FailureError("stack", "it is not running", fix="make up")


@app.command("run", context_settings=PASS_ON)
def run_part(
    context: typer.Context,
    part: Annotated[
        str,
        typer.Argument(
            help=f"{ANY_PART}; all further arguments are passed to the part.", autocompletion=completion.complete_part
        ),
    ],
) -> None:
    """Run one part with its own settings, as python -m kpi_PART does."""
    if part in {"--help", "-h"}:
        print(RUN_HELP)
        return
    part_commands.run(layout.find(), part, context.args)


@app.command("env")
def print_environment(part: AnyPart, *, as_json: Json = False) -> None:
    """Print the local stack's settings of one part for a shell: eval "$(.venv/bin/kpi env content)"."""
    part_commands.print_environment(layout.find(), part, as_json=as_json)


@app.command(context_settings={"ignore_unknown_options": True})
def migrate(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORDS]", help=MIGRATED, autocompletion=completion.complete_service),
    ] = None,
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="What the new migration does; for: migrate new SERVICE.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Upgrade the databases to the newest migration: the local stack's, or the one that DATABASE_URL names.

    kpi migrate [SERVICE] upgrades all services, or one.

    kpi migrate downgrade SERVICE [REVISION] undoes the newest migration, the newest two (-2), or all after a revision.

    Their tables and columns are deleted, with the data in them.

    kpi migrate new SERVICE -m "add bios" writes a migration from the difference between models and database.
    """
    part_commands.migrate(layout.find(), words or [], message, as_json=as_json)


@app.command()
def load(
    file: Annotated[
        Path | None,
        typer.Argument(help="Posts, one JSON object per line, gzipped or plain; the sample data by default."),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Load posts with their authors and votes into the local stack, running or stopped."""
    where = layout.find()
    if file is None and not where.sample_data.exists():
        fix = f"{KPI} load FILE, or {KPI} upgrade --with sample-data"
        raise FailureError("load", "this project was made without the sample posts", fix=fix, code=2)
    chosen = file or where.sample_data
    loader.load(where, Path(where.shorten(chosen)), Console(), as_json=as_json)


@app.command("openapi")
def print_openapi(
    file: Annotated[Path | None, typer.Argument(help="Write it to this file instead of standard output.")] = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when FILE is not up to date.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="With FILE: print what was done as one JSON object; without, it is JSON anyway."),
    ] = False,
) -> None:
    """Print the OpenAPI document of the whole API, merged as the gateway serves it; nothing has to be running."""
    if check and file is None:
        raise FailureError("openapi", "--check needs a FILE", fix=f"{KPI} openapi --check docs/openapi.json", code=2)
    if file is None:
        print(openapi.merge(), end="")
    elif check:
        openapi.check(file, as_json=as_json)
    else:
        openapi.write(file, as_json=as_json)


@app.command("doctor")
def diagnose(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False
) -> None:
    """Check everything that the stack needs, and report what is wrong, why, and how to fix it.

    Nothing is changed. The database of a stopped stack is started for the checks, and stopped again.
    """
    findings = doctor.examine(layout.find())
    doctor.print_json(findings) if as_json else doctor.print_findings(findings, Console())
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@audit_app.command("verify")
def verify_audit(
    *,
    head: Annotated[
        str | None, typer.Option(metavar="PLACE:HASH", help="A place that the log or an earlier run showed.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=1, help="How many seconds a record may be older than those before it in the chain.")
    ] = 900,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Walk the chain of audit records, and name the first that was changed, removed or put in between.

    The exit code is 0 if there is none, 3 if there is one, and 1 if that could not be found out.
    """
    audit.verify(layout.find(), head=head, tolerance=tolerance, as_json=as_json)


@secrets_app.command("push")
def push_secret(
    template: Annotated[Path, typer.Argument(help="The filled-in template.")],
    name: Annotated[str, typer.Option(envvar="AWS_SECRET_NAME", help="The secret's name.")],
    region: Annotated[str, typer.Option(envvar="AWS_REGION", help="Its AWS region.")],
    endpoint_url: Annotated[
        str | None, typer.Option(envvar="AWS_ENDPOINT_URL", help="An endpoint other than AWS's own.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Create or update a secret in AWS Secrets Manager from a template; values are never printed.

    The template is a filled-in copy of cli/kpi_cli/operations/templates/secret.json.example.
    """
    from kpi_cli.operations import aws_secrets  # noqa: PLC0415 - importing boto3 takes longer than most commands

    done = aws_secrets.push(template, name=name, region=region, endpoint_url=endpoint_url)
    made = {"secret": name, "region": region, "done": done}
    print(json.dumps(made) if as_json else f"kpi: {done} the secret {name} in {region}")


def main() -> None:
    """The program: every failure is one sentence on standard error."""
    _ensure_utf8()
    # Without this handler a SIGTERM would end Python at once, and leave a database running that a command has started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if completion.VARIABLE in os.environ:
        completion.prepare()
    understood = spellings.understand(sys.argv[1:])
    for note in understood.notes:
        print(f"kpi: {note}", file=sys.stderr)
    try:
        app(understood.arguments, prog_name="kpi")
    except FailureError as failure:
        _exit(failure)
    except OSError as error:
        _exit(_system_failure(error))


def _ensure_utf8() -> None:
    """Start again in UTF-8 mode where Python has taken another encoding for paths and files from the locale.

    A path of this checkout, and what PostgreSQL and the parts print, may have characters that it does not have.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "kpi_cli", *sys.argv[1:]])  # noqa: S606 - no shell is needed


def _system_failure(error: OSError) -> FailureError:
    where = f" ({error.filename})" if error.filename else ""
    home = layout.find().home
    fixes = {
        errno.ENOSPC: "free some space, then try again",
        errno.EACCES: f"run the command as the user who owns {home}",
        errno.EPERM: f"run the command as the user who owns {home}",
    }
    part = "disk" if error.errno in {errno.ENOSPC, errno.EROFS, errno.EDQUOT} else "system"
    # The doctor itself must not recommend the doctor.
    otherwise = "" if "doctor" in sys.argv else f"{KPI} doctor"
    return FailureError(part, f"{os.strerror(error.errno or 0)}{where}", fix=fixes.get(error.errno or 0, otherwise))


def _exit(failure: FailureError) -> None:
    print("\n".join(failure.lines()), file=sys.stderr)
    sys.exit(failure.code)
