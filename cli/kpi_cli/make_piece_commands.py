"""The single pieces of ``kpi make``: a function here is the command line of one, which its planner gets.

``add_to`` adds them to ``kpi make``, with the options that all of them have.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from kpi_cli import layout
from kpi_cli.generate.options import DryRun, Force, Json
from kpi_cli.operations import completion

Name = Annotated[str, typer.Argument(help="The name, as OrderItem, order_item or order-item.")]
Noun = Annotated[str, typer.Argument(help="The noun, as OrderItem or order_items.")]
Service = Annotated[
    str, typer.Option("--service", "-s", help="The service, as content.", autocompletion=completion.complete_service)
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--field", "-f", metavar="NAME:KIND:RULES", help="A field, as title:string:required,max:200 (repeatable)."
    ),
]
BelongsTo = Annotated[
    list[str] | None,
    typer.Option(
        "--belongs-to",
        metavar="TABLE",
        help="A table to which each row refers; rows are deleted with the row that they refer to (repeatable).",
    ),
]
SoftDeletes = Annotated[bool, typer.Option("--soft-deletes", help="Deleted rows are kept, and can be restored.")]
In = Annotated[
    str | None,
    typer.Option(
        "--in", metavar="NOUN", help="The noun whose folder it goes into; by default the one that NAME begins with."
    ),
]


def run(piece: str, *, dry_run: bool = False, force: bool = False, as_json: bool = False, **parameters: Any) -> None:  # noqa: ANN401 of any planner
    """Make one piece."""
    from kpi_cli.generate import applying, interruptions  # noqa: PLC0415 - only kpi make needs this, and Jinja2 below

    where = layout.find()
    with interruptions.report(where):
        from kpi_cli.generate.pieces.planners import PLANNERS  # noqa: PLC0415 - it takes long enough to be interrupted

        plan = PLANNERS[piece](where.checkout, **parameters)
        applying.run_plan(where, plan, dry_run=dry_run, force=force, as_json=as_json)


def add_to(app: typer.Typer) -> None:
    for name, function in _PIECES.items():
        app.command(name)(_with_options(name, function))


def _with_options(piece: str, function: Callable[..., None]) -> Callable[..., None]:
    """The command line of ``function``, and the options that all pieces have."""
    command = partial(run, piece)
    common = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in {"dry_run": DryRun, "force": Force, "as_json": Json}.items()
    ]
    own = inspect.signature(function)

    def make(**parameters: Any) -> None:  # noqa: ANN401 as typer passes them
        command(**parameters)

    make.__doc__ = function.__doc__
    make.__signature__ = own.replace(parameters=[*own.parameters.values(), *common])  # type: ignore[attr-defined]
    make.__annotations__ = {**function.__annotations__, "dry_run": DryRun, "force": Force, "as_json": Json}
    return make


def _error(
    name: Name,
    service: Service = "content",
    noun: In = None,
    status: Annotated[int, typer.Option(help="The HTTP status.")] = 409,
    title: Annotated[str | None, typer.Option(help="What clients read; by default the words of the name.")] = None,
) -> None:
    """An error that clients see as a problem document, in the errors.py of its noun."""


def _enum(
    name: Name,
    values: Annotated[list[str], typer.Option("--value", "-v", help="A value; repeated.")],
    service: Service = "content",
    noun: In = None,
) -> None:
    """The values of a column, as a StrEnum of which its CHECK is made, in the models.py of its noun."""


def _model(
    name: Noun,
    service: Service = "content",
    fields: Fields = None,
    belongs_to: BelongsTo = None,
    soft_deletes: SoftDeletes = False,
    noun: Annotated[
        str | None, typer.Option("--in", metavar="NOUN", help="Another noun, whose models.py it goes into.")
    ] = None,
) -> None:
    """A table with its migration, in the models.py of a new noun."""


def _endpoint(  # noqa: PLR0913 each is an option
    name: Name,
    *,
    service: Service = "content",
    noun: Annotated[
        str | None, typer.Option("--in", metavar="NOUN", help="The noun it is an endpoint of; by default NAME itself.")
    ] = None,
    method: Annotated[str, typer.Option(help="get, post, put, patch or delete.")] = "get",
    path: Annotated[
        str | None, typer.Option(help="What follows the path of the noun, as /{post_id}/archive; by default NAME.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="It needs no token.")] = False,
    protected: Annotated[bool, typer.Option("--protected", "-p", help="It needs a token.")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="It is for admins.")] = False,
) -> None:
    """An endpoint with its right, its route and a test: of a new noun, or of one that there is."""


def _repository(
    name: Noun, service: Service = "content", fields: Fields = None, soft_deletes: SoftDeletes = False
) -> None:
    """The SQL of a noun that has a table; its schemas and errors, if there are none."""


def _service_layer(
    name: Noun, service: Service = "content", fields: Fields = None, soft_deletes: SoftDeletes = False
) -> None:
    """The rules of a noun that has a table, in its service.py; its repository, if there is none."""


def _factory(name: Noun, service: Service = "content", fields: Fields = None, belongs_to: BelongsTo = None) -> None:
    """The factory of a noun that has a table, and its seeder, which stand in one module."""


def _seeder(name: Noun, service: Service = "content", fields: Fields = None, belongs_to: BelongsTo = None) -> None:
    """The same as factory: kpi db seed --seeder NAME fills the table by it."""


def _migration(
    message: Annotated[str, typer.Argument(help="What it does, as 'add bios'.")], service: Service = "content"
) -> None:
    """An empty migration, for what is not found by comparing models with the database."""


def _middleware(name: Name, service: Service = "content") -> None:
    """A layer around the application of a service, with a test."""


def _command(name: Name, service: Service = "content", noun: In = None) -> None:
    """A command of the service's program, python -m kpi_SERVICE NAME, with a test."""


def _test(name: Name, service: Service = "content", noun: In = None) -> None:
    """A file of tests for a noun, with a first test that passes."""


def _event(
    name: Annotated[str, typer.Argument(help="What the event is about and what happened, as account.suspended.")],
    service: Service = "auth",
    fields: Fields = None,
) -> None:
    """A type of event of auth, with its payload: kpi make event account.suspended -s auth -f reason:string:required."""


def _notifications(service: Service = "content") -> None:
    """GET /notifications: the table that kpi_kit.notify writes into, read and unread, with tests and its route."""


def _queue(service: Service = "content") -> None:
    """The migration with the tables of the queue, kpi_kit.queue, in the database of the service."""


_PIECES: dict[str, Callable[..., None]] = {
    "model": _model,
    "endpoint": _endpoint,
    "repository": _repository,
    "service-layer": _service_layer,
    "migration": _migration,
    "middleware": _middleware,
    "command": _command,
    "test": _test,
    "factory": _factory,
    "seeder": _seeder,
    "error": _error,
    "enum": _enum,
    "event": _event,
    "notifications": _notifications,
    "queue": _queue,
}
