"""``kpi routes``, ``config`` and the like: every function here reads its options, calls one module and prints."""

from pathlib import Path
from typing import Annotated

import typer

from kpi_cli import __version__, layout, parts
from kpi_cli.errors import FailureError
from kpi_cli.operations import command_docs, completion, libraries, logs, overview, routes, settings
from kpi_cli.operations.log_records import Level

app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON value.")]


@app.command("routes")
def print_routes(
    service: Annotated[
        str | None, typer.Option(help="Only operations of this service.", autocompletion=completion.complete_part)
    ] = None,
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
    routes.print_routes(layout.find(), wanted, as_json=as_json)


@app.command("config")
def print_config(
    part: Annotated[
        str | None,
        typer.Argument(
            help=f"{parts.join_names(parts.PARTS, 'or')}; all by default.", autocompletion=completion.complete_part
        ),
    ] = None,
    *,
    only_changed: Annotated[
        bool, typer.Option("--changed", help="Only settings that differ from their defaults, or are wrong.")
    ] = False,
    init: Annotated[
        bool, typer.Option("--init", help="Write config/.env.example of each part, and print nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print every setting: its value, where it comes from, its default, its type, and what it does.

    The settings are those of the local stack, or of the shell if that names a database. Secrets are masked. A part that
    could not start prints its settings too, and what is wrong.
    """
    chosen = parts.PARTS if part is None else (parts.get_or_raise(part),)
    if init:
        settings.write_examples(layout.find(), chosen, as_json=as_json)
    else:
        settings.print_settings(layout.find(), chosen, only_changed=only_changed, as_json=as_json)


@app.command("logs")
def print_logs(  # noqa: PLR0913 each option is a parameter
    part: Annotated[
        str | None,
        typer.Argument(help=f"{', '.join(logs.NAMES)}; all by default.", autocompletion=completion.complete_log),
    ] = None,
    *,
    request: Annotated[
        str | None, typer.Option(metavar="ID", help="Only lines of the request with this X-Request-ID, in all parts.")
    ] = None,
    level: Annotated[Level | None, typer.Option(help="Only lines of this level or a more important one.")] = None,
    since: Annotated[str | None, typer.Option(help="Only lines of this time until now: 30s, 10m, 2h or 1d.")] = None,
    count: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=1_000_000, help="How many of the newest lines; not with --since.")
    ] = 200,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print what is added, until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list; with --follow an object per line.")
    ] = False,
) -> None:
    """Print the local stack's logs, all parts in the order of time. In containers: docker compose logs."""
    wanted = logs.build_filter(request, level, since)
    logs.print_logs(layout.find(), part, wanted, count=count, follow=follow, as_json=as_json)


@app.command("docs")
def print_docs(
    context: typer.Context,
    *,
    is_open: Annotated[bool, typer.Option("--open", help="Open the API's page of the running stack.")] = False,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the reference of all commands to this file instead.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Fail when this file is not that reference.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print where the documentation is: of the API, as the running stack serves it, and of this checkout."""
    if write is not None and check is not None:
        raise FailureError("docs", "--write and --check cannot be combined", code=2)
    if write is not None:
        command_docs.write(context.find_root(), write, as_json=as_json)
    elif check is not None:
        command_docs.check(context.find_root(), check, as_json=as_json)
    else:
        overview.print_docs(layout.find(), is_open=is_open, as_json=as_json)


@app.command("version")
def print_version(*, as_json: Json = False) -> None:
    """Print the versions of this command, Python, PostgreSQL, the parts and the checkout."""
    overview.print_version(layout.find(), kpi=__version__, as_json=as_json)


@app.command("libs")
def print_libraries(
    name: Annotated[str | None, typer.Argument(help="Only this library, with its drivers and their URLs.")] = None,
    *,
    usage: Annotated[bool, typer.Option("--usage", help="Print a short program that uses it.")] = False,
    as_json: Json = False,
) -> None:
    """List the libraries of the kit for services: what each is for, and which of its drivers are installed."""
    libraries.print_libraries(name, usage=usage, as_json=as_json)


@app.command("completion")
def print_completion(
    shell: Annotated[completion.Shell, typer.Argument(help="The shell.")], *, as_json: Json = False
) -> None:
    """Print the script by which a shell completes kpi, .venv/bin/kpi and any other path to it.

    For this session, in bash or zsh: eval "$(.venv/bin/kpi completion bash)"

    For all: the same line in ~/.bashrc, or in ~/.zshrc after compinit, with the whole path to the command.

    In fish: .venv/bin/kpi completion fish > ~/.config/fish/completions/kpi.fish
    """
    completion.print_script(shell, as_json=as_json)
