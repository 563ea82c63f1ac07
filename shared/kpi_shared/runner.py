"""``python -m kpi_<part>``: serve, migrate, check, and what else a part can do."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import uvicorn

from kpi_shared.findings import finding
from kpi_shared.parts import Part
from kpi_shared.server import uvicorn_options
from kpi_shared.settings import DatabaseSettings, Environment, PartSettings, SettingsError

# sysexits.h: EX_CONFIG, something was found in an unconfigured or misconfigured state.
EX_CONFIG = 78

# A further command of one part: it gets the settings and returns the exit code.
Command = Callable[[Any], int]


def main(
    part: Part,
    settings: type[PartSettings],
    argv: Sequence[str] | None = None,
    *,
    commands: Mapping[str, Command] | None = None,
) -> int:
    """Run one command of a part and return its exit code; settings that do not hold cost one sentence."""
    options = _parser(part, settings, commands or {}).parse_args(argv)
    if options.environment:
        os.environ["APP_ENV"] = options.environment
    if options.log_level:
        os.environ["LOG_LEVEL"] = options.log_level.upper()
    try:
        return _dispatch(part, settings, options, commands or {})
    except SettingsError as error:
        print(f"{part.program}: {error}", file=sys.stderr)  # noqa: T201 the operator reads it
        return EX_CONFIG


def _parser(part: Part, settings: type[PartSettings], commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {part.package}", description=f"The {part.name} part of KPI-One.")
    known = ["serve", "check", *(["migrate"] if issubclass(settings, DatabaseSettings) else []), *commands]
    parser.add_argument("command", nargs="?", choices=known, default="serve", help="what to do (default: serve)")
    parser.add_argument("--env", "--environment", dest="environment", choices=[item.value for item in Environment])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=part.port, help="port to listen on (default: %(default)s)")
    parser.add_argument("--reload", action="store_true", help="start again when code changes")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
    return parser


def _dispatch(
    part: Part, settings: type[PartSettings], options: argparse.Namespace, commands: Mapping[str, Command]
) -> int:
    if options.command == "check":
        return _check(part, settings)
    loaded = settings.load()
    if options.command == "migrate" and isinstance(loaded, DatabaseSettings):
        return _migrate(part, loaded)
    if options.command in commands:
        return commands[options.command](loaded)
    return _serve(part, options)


def _serve(part: Part, options: argparse.Namespace) -> int:
    uvicorn.run(
        f"{part.package}.asgi:app",
        **uvicorn_options(
            host=options.host,
            port=options.port,
            reload=options.reload,
            reload_dirs=[str(part.folder / part.package)] if options.reload else None,
            workers=options.workers,
        ),
    )
    return 0


def _migrate(part: Part, settings: DatabaseSettings) -> int:
    # The gateway has no database, so its image does without the libraries that this module imports.
    from kpi_shared.operations import migrate  # noqa: PLC0415

    return migrate(part, settings)


def _check(part: Part, settings: type[PartSettings]) -> int:
    """Print one JSON object for ``kpi doctor``; it holds no secret."""
    findings: list[dict[str, object]] = []
    try:
        loaded = settings.load()
        findings.append(finding("settings", ok=True, detail="complete"))
    except SettingsError as error:
        loaded = None
        findings.append(finding("settings", ok=False, detail=str(error), fix="set what is named, then: kpi doctor"))
    if isinstance(loaded, DatabaseSettings):
        from kpi_shared.operations import database_finding  # noqa: PLC0415 as above

        findings.append(database_finding(part, loaded))
    ok = all(finding["ok"] for finding in findings)
    print(json.dumps({"part": part.name, "ok": ok, "findings": findings}))  # noqa: T201
    return 0 if ok else 1
