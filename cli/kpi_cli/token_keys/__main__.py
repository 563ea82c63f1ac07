"""``docker compose run --rm keys rotate``: the same commands as ``kpi keys``, for the ring of a stack in containers.

It runs in the image of auth, whose commands it asks; the folder is the volume of the secrets.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kpi_cli import auth_process, parts, secret_files
from kpi_cli.errors import FailureError
from kpi_cli.token_keys import files
from kpi_cli.token_keys.holders import take_census
from kpi_cli.token_keys.killing import Killer, describe_stop
from kpi_cli.token_keys.overview import describe, to_lines
from kpi_cli.token_keys.rotation import Plan, Rotator

_EXPECTED = tuple(part.name for part in parts.VERIFYING)


def ask(command: str, request: Mapping[str, object], *, seconds: float | None = None) -> dict[str, Any]:
    return auth_process.run(os.environ, command, request, seconds=seconds)


def report(sentence: str) -> None:
    print(f"keys: {sentence}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a failure is one sentence."""
    options = _parse(arguments)
    try:
        options.run(options)
    except FailureError as failure:
        print("\n".join(failure.lines()), file=sys.stderr)
        return failure.code
    except OSError as error:
        report(f"{error.filename or options.folder}: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        report("stopped; what is done is in the key ring, and the next run continues")
        return 130
    return 0


def _ensure(options: argparse.Namespace) -> None:
    made = files.ensure(options.folder, files.demanded_purpose())
    files.write_purpose(options.folder)
    secret_files.hand_over(options.folder, options.owner)
    report(made or "the key ring exists already")


def _rotate(options: argparse.Namespace) -> None:
    plan = Plan(_expected(options), options.wait, not options.no_wait, tuple(options.ignore))
    ring = Rotator(files.store_in(options.folder), ask, plan, report).run()
    print(json.dumps({"active": ring.active.kid if ring.active else None}))


def _print_status(options: argparse.Namespace) -> None:
    ring = files.store_in(options.folder).read()
    found = describe(ring, take_census(ask, _expected(options)))
    print(json.dumps(found) if options.json else "\n".join(to_lines(found)))


def _kill(options: argparse.Namespace) -> None:
    store = files.store_in(options.folder)
    try:
        kid = Killer(store, ask, _expected(options), report, options.now).run(options.kid)
    except KeyboardInterrupt:
        raise describe_stop(store, options.kid) from None
    print(json.dumps({"killed": kid}))


def _expected(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(part for part in _EXPECTED if part not in options.without)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="keys", description="The keys of access tokens.")
    parser.add_argument("--folder", type=Path, default=Path("/run/kpi"))
    commands = parser.add_subparsers(required=True)
    ensure = commands.add_parser("ensure", help="make the key ring if there is none")
    ensure.add_argument("--owner", action="append", default=[], metavar="FILE=UID[:GID]")
    ensure.set_defaults(run=_ensure)
    rotate = _add_command(commands, "rotate", "replace the key while everything runs")
    rotate.add_argument("--wait", type=int, metavar="SECONDS", help="instead of a token's life")
    rotate.add_argument("--no-wait", action="store_true", help="leave the old key to a later run")
    rotate.add_argument("--ignore", action="append", default=[], metavar="INSTANCE", help="do not wait for it")
    rotate.set_defaults(run=_rotate)
    status = _add_command(commands, "status", "the keys, who holds them, and what is next")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=_print_status)
    kill = _add_command(commands, "kill", "refuse a key everywhere, at once and for ever")
    kill.add_argument("kid")
    kill.add_argument("--now", action="store_true", help="also if the parts do not know another key yet")
    kill.set_defaults(run=_kill)
    return parser.parse_args(arguments)


def _add_command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:  # noqa: ANN401 of argparse
    command: argparse.ArgumentParser = commands.add_parser(name, help=text)
    command.add_argument("--without", action="append", default=[], choices=_EXPECTED, help="it has no key (repeatable)")
    return command


if __name__ == "__main__":
    sys.exit(main())
