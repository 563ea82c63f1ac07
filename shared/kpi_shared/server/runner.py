"""``python -m kpi_<part>``: serve, check, migrate, openapi, and the commands of the part."""

import argparse
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import FrameType
from typing import Any, NoReturn, TypeVar

from kpi_shared.findings import create_finding
from kpi_shared.parts import Part
from kpi_shared.product import PRODUCT
from kpi_shared.server import serving
from kpi_shared.server.connections import raise_file_limit
from kpi_shared.server.options import uvicorn_options
from kpi_shared.setting_reports.report import report
from kpi_shared.settings import DatabaseSettings, Environment, PartSettings, SettingsError, database_settings_of
from kpi_shared.telemetry.logging import configure_logging

_MOST_SEEDS = 1_000_000
# sysexits.h: "something was found in an unconfigured or misconfigured state".
EX_CONFIG = 78

_COMMANDS = """serve (the default): handle requests; check: report as JSON whether it could start; settings: print as
JSON what is set, where, and what it is for; migrate: upgrade the database to the newest revision; openapi: print the
OpenAPI document; seed: add made-up rows for development; show-database: print where the database is, and its revision;
renew-database: drop all that is in the database that standard input names, and migrate it; show-queues,
list-failed-jobs, retry-failed-jobs, forget-failed-jobs: the jobs in the database; import-...: add documents
from standard input, one JSON object per line; others: read one JSON object from standard input and print one"""

# The commands of every part that has a database.
_OF_QUEUE = ("show-queues", "list-failed-jobs", "retry-failed-jobs", "forget-failed-jobs")
_ON_DATABASE = ("seed", "show-database", "renew-database", *_OF_QUEUE)
_OF_SERVICES = ("migrate", "openapi", *_ON_DATABASE)

# A command that only one part has: it gets the settings and returns the exit code. Named as "module:function", it is
# imported when it runs: all commands of a part together take as long to import as the libraries below them.
Command = Callable[[Any], int] | str
Application = TypeVar("Application")


def main(
    part: Part,
    settings: type[PartSettings],
    argv: Sequence[str] | None = None,
    *,
    commands: Mapping[str, Command] | None = None,
) -> int:
    """Run one command of a part and return its exit code; invalid settings are reported in one sentence."""
    options = _create_parser(part, settings, commands or {}).parse_args(argv)
    own = (commands or {}).get(options.command)
    if isinstance(own, str):
        own = pkgutil.resolve_name(own)
    if options.environment:
        os.environ["APP_ENV"] = options.environment
    if options.log_level:
        os.environ["LOG_LEVEL"] = options.log_level.upper()
    if options.command != "serve" or options.reload or options.workers > 1:
        # The programs suspend it (see swift_start), and here no application starts that resumes it.
        gc.enable()
    try:
        return _dispatch(part, settings, options, own)
    except SettingsError as error:
        print(f"{part.program}: {error}", file=sys.stderr)
        return EX_CONFIG


def _create_parser(
    part: Part, settings: type[PartSettings], commands: Mapping[str, Command]
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {part.package}", description=f"The {part.name} part of {PRODUCT}."
    )
    of_services = list(_OF_SERVICES) if issubclass(settings, DatabaseSettings) else []
    known = ["serve", "check", "settings", *of_services, *commands]
    parser.add_argument("command", nargs="?", choices=known, default="serve", help=_COMMANDS)
    environments = [item.value for item in Environment]
    parser.add_argument("--env", "--environment", dest="environment", choices=environments, help="sets APP_ENV")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_parse_port, default=part.port, help="port to listen on (default: %(default)s)")
    parser.add_argument("--reload", action="store_true", help="restart when code changes")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    levels = ["debug", "info", "warning", "error"]
    parser.add_argument("--log-level", choices=levels, help="sets LOG_LEVEL (default: info)")
    if of_services:
        _add_options_of_seed(parser.add_argument_group("seed"))
    return parser


def _add_options_of_seed(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--seeder", help="run only this one, and those whose rows it needs (default: all)")
    group.add_argument("--count", type=_parse_count, default=100, help="rows of each seeder (default: %(default)s)")
    group.add_argument("--allow-production", action="store_true", help="seed even where APP_ENV is production")
    group.add_argument("--json", action="store_true", help="print each step as a JSON object on a line")


def _parse_count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to {_MOST_SEEDS:,}")
    return int(text)


def _parse_port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not a port (1 to {2**16 - 1})")
    return int(text)


def _dispatch(
    part: Part, settings: type[PartSettings], options: argparse.Namespace, own: Callable[[Any], int] | None
) -> int:
    about_settings = {"check": partial(_check, part, settings), "settings": partial(_print_settings, settings)}
    if options.command in about_settings:
        return about_settings[options.command]()
    if options.command == "migrate":
        return _migrate(part)
    if options.command in _ON_DATABASE:
        return _run_on_database(part, settings, options)
    # The gateway has a command of that name, which reads the documents of the services.
    if options.command == "openapi" and own is None:
        return _print_openapi(part, settings)
    loaded = settings.load()
    if own is not None:
        return own(loaded)
    return _serve(part, loaded, options)


def _run_on_database(part: Part, of_service: type[PartSettings], options: argparse.Namespace) -> int:
    """Like a migration, these commands need the settings of the database and no key."""
    # The image of the gateway, which has no database, lacks the libraries that these modules import.
    settings = database_settings_of(part).load()
    if options.command == "seed":
        from kpi_shared.seeding import command  # noqa: PLC0415

        chosen = command.SeedOptions(
            count=options.count,
            seeder=options.seeder,
            allow_production=options.allow_production,
            as_json=options.json,
        )
        return command.run(part, settings, chosen)
    if options.command in _OF_QUEUE:
        from kpi_shared import queue_commands  # noqa: PLC0415

        return queue_commands.run(part, queue_commands.settings_of(part, of_service).load(), options.command)
    from kpi_shared import database_commands  # noqa: PLC0415

    work = database_commands.show if options.command == "show-database" else database_commands.renew
    return work(part, settings)


def _serve(part: Part, settings: PartSettings, options: argparse.Namespace) -> int:
    if reason := _find_serve_obstacle(settings, options):
        print(f"{part.program}: {reason}", file=sys.stderr)
        return 1
    # Each worker serves its metrics on its own port: on a shared port, each scrape would reach a random worker.
    os.environ["METRICS_PORTS"] = str(_metrics_ports(settings, options))
    # So that uvicorn also logs JSON before the application exists, and in the parent process of the workers.
    configure_logging(part=part.program, level=settings.log_level, form=settings.log_format)
    raise_file_limit()
    # After a clean stop uvicorn raises the signal again, which would end the process as if it had been killed.
    signal.signal(signal.SIGTERM, _exit)
    serving.run(
        f"{part.package}.asgi:app",
        **uvicorn_options(
            host=options.host,
            port=options.port,
            reload=options.reload,
            reload_dirs=[str(part.folder / part.package)] if options.reload else None,
            workers=options.workers,
            timeout_graceful_shutdown=settings.shutdown_seconds,
            **settings.server_options,
        ),
    )
    return 0


def _exit(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _metrics_ports(settings: PartSettings, options: argparse.Namespace) -> int:
    return max(settings.metrics_ports, int(options.workers))


def _find_serve_obstacle(settings: PartSettings, options: argparse.Namespace) -> str | None:
    if reason := _find_listen_obstacle(options.host, options.port):
        return f"cannot listen on {options.host}:{options.port}: {reason}"
    if not settings.metrics_port:
        return None
    host, first = settings.metrics_host, settings.metrics_port
    # Other replicas may already use some ports of a shared range.
    ports = range(first, min(first + _metrics_ports(settings, options), 2**16))
    free = [port for port in ports if port != options.port and not _find_listen_obstacle(host, port)]
    if len(free) >= options.workers:
        return None
    where = f"port {first}" if len(ports) == 1 else f"ports {first} to {ports[-1]}, one per process"
    return f"cannot serve metrics on {host}, METRICS_PORT ({where}): {_describe_free_ports(len(free), options.workers)}"


def _describe_free_ports(free: int, needed: int) -> str:
    return f"{free} of {needed} free; set another port, or none to disable metrics"


def _find_listen_obstacle(host: str, port: int) -> str | None:
    """Try the port before the application starts, so that a port in use is reported in one sentence."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        # The standard library adds the address, which the message already contains.
        return str(error.strerror or error).partition(" (while")[0]
    return None


def _migrate(part: Part) -> int:
    # The image of the gateway, which has no database, lacks the libraries that this module imports.
    from kpi_shared.operations import migrate  # noqa: PLC0415

    return migrate(part)


def _print_openapi(part: Part, settings: type[PartSettings]) -> int:
    """Print the document that the service would serve. It needs no settings, and nothing has to run."""
    create_app = importlib.import_module(f"{part.package}.app").create_app
    # Without validation there are only defaults. The application is not started, so no required setting is read.
    document = create_app(settings.model_construct()).openapi()
    print(json.dumps(document, indent=2, ensure_ascii=False))
    return 0


def _print_settings(settings: type[PartSettings]) -> int:
    """Print one JSON object for ``kpi config``, also if the settings are not valid; it contains no secret."""
    print(json.dumps(report(settings)))
    return 0


def _check(part: Part, settings: type[PartSettings]) -> int:
    """Print one JSON object for ``kpi doctor``; it contains no secret."""
    findings: list[dict[str, object]] = []
    try:
        loaded = settings.load()
        findings += [create_finding("settings", ok=True, detail="complete"), *loaded.findings]
    except SettingsError as error:
        loaded = None
        findings.append(
            create_finding("settings", ok=False, detail=str(error), fix="correct these settings, then: kpi doctor")
        )
    if isinstance(loaded, DatabaseSettings):
        from kpi_shared.operations import check_database  # noqa: PLC0415 as above

        findings.append(check_database(part, loaded))
    ok = all(finding["ok"] for finding in findings)
    print(json.dumps({"part": part.name, "ok": ok, "findings": findings}))
    return 0 if ok else 1


def build_or_exit(part: Part, build: Callable[[], Application]) -> Application:
    """The application for servers that import it; invalid settings end the process with one sentence."""
    try:
        return build()
    except SettingsError as error:
        raise SystemExit(f"{part.program}: {error}") from None
