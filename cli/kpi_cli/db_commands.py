"""``kpi db``: every function here reads its options, calls one module and prints."""

from typing import Annotated

import typer

from kpi_cli import layout, parts
from kpi_cli.operations import completion, database_changes, seeding
from kpi_cli.operations.service_databases import Consent

app = typer.Typer(
    name="db",
    help="The databases of the services: of the local stack, running or stopped, or the one that DATABASE_URL names.",
    no_args_is_help=True,
)

ANY_SERVICE = parts.join_names(parts.WITH_DATABASE, "or")
Service = Annotated[
    str | None,
    typer.Option(
        "--service", "-s", help=f"{ANY_SERVICE}; without it, all services.", autocompletion=completion.complete_service
    ),
]
OneService = Annotated[
    str | None, typer.Option("--service", "-s", help=f"{ANY_SERVICE}.", autocompletion=completion.complete_service)
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON value.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AllowProduction = Annotated[bool, typer.Option("--allow-production", help="Also where APP_ENV is production.")]
YesRemote = Annotated[bool, typer.Option("--yes-remote", help="Also if the database may be on another machine.")]


@app.command()
def migrate(service: Service = None, *, as_json: Json = False) -> None:
    """Upgrade the databases to the newest migration."""
    database_changes.migrate(layout.find(), service, as_json=as_json)


@app.command()
def rollback(
    service: Service = None,
    *,
    steps: Annotated[int, typer.Option("--steps", min=1, help="How many migrations.")] = 1,
    yes: Yes = False,
    yes_remote: YesRemote = False,
    allow_production: AllowProduction = False,
    as_json: Json = False,
) -> None:
    """Undo the newest migration of each service, with the data in what it has made."""
    consent = Consent(yes=yes, remote=yes_remote, production=allow_production)
    database_changes.rollback(layout.find(), service, steps=steps, consent=consent, as_json=as_json)


@app.command()
def fresh(
    service: Service = None,
    *,
    yes: Yes = False,
    yes_remote: YesRemote = False,
    allow_production: AllowProduction = False,
    as_json: Json = False,
) -> None:
    """Drop everything in the databases, and migrate them. A running stack goes on with the new ones."""
    consent = Consent(yes=yes, remote=yes_remote, production=allow_production)
    database_changes.renew(layout.find(), service, by_downgrades=False, consent=consent, as_json=as_json)


@app.command()
def reset(
    service: Service = None,
    *,
    yes: Yes = False,
    yes_remote: YesRemote = False,
    allow_production: AllowProduction = False,
    as_json: Json = False,
) -> None:
    """Undo all migrations, the newest first, and migrate again. The data is deleted, as with fresh."""
    consent = Consent(yes=yes, remote=yes_remote, production=allow_production)
    database_changes.renew(layout.find(), service, by_downgrades=True, consent=consent, as_json=as_json)


@app.command()
def seed(
    service: Service = None,
    *,
    seeder: Annotated[
        str | None,
        typer.Option(
            "--seeder", help="Only this one, and those whose rows it needs.", autocompletion=completion.complete_seeder
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=1_000_000, help="Rows of each seeder.")] = 100,
    allow_production: AllowProduction = False,
    yes_remote: YesRemote = False,
    as_json: Json = False,
) -> None:
    """Add made-up rows for development, until each table has COUNT; a second run adds none."""
    request = seeding.SeedRequest(
        service=service, seeder=seeder, count=count, allow_production=allow_production, remote=yes_remote
    )
    seeding.seed(layout.find(), request, as_json=as_json)


@app.command()
def status(service: Service = None, *, as_json: Json = False) -> None:
    """Print where each database is, its revision, the newest one, and which migrations it lacks."""
    database_changes.print_status(layout.find(), service, as_json=as_json)


@app.command(context_settings={"ignore_unknown_options": True})
def shell(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGUMENTS]", help='Passed to psql: -c "SELECT 1".')
    ] = None,
    *,
    service: OneService = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only print where the database is.")] = False,
) -> None:
    """Open psql on a service's database, with the role of the service."""
    database_changes.open_shell(layout.find(), service, arguments or [], as_json=as_json)


@app.command()
def revision(
    *,
    message: Annotated[str, typer.Option("--message", "-m", help="What the migration does.")],
    service: OneService = None,
    as_json: Json = False,
) -> None:
    """Write the migration that a service's models need, tried on a database of its own."""
    # Copying and formatting code takes imports that no other command here needs.
    from kpi_cli.generate.revision import write_revision  # noqa: PLC0415

    write_revision(layout.find(), service, message, as_json=as_json)
