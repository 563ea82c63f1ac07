"""``kpi run``, ``kpi env`` and ``kpi migrate``: parts as programs, with the settings of their environment and files."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import NoReturn

from kpi_cli import parts, revisions
from kpi_cli.errors import KPI, FailureError, suggest
from kpi_cli.layout import Layout
from kpi_cli.operations import outputs
from kpi_cli.parts import Part
from kpi_cli.stack import environments, found_keys, local_database

_OPTIONS = ("--json", "--message", "--help")


def run(layout: Layout, name: str, arguments: Sequence[str]) -> NoReturn:
    """Become ``python -m kpi_PART``: signals, exit code and output are then the part's own."""
    part = parts.get_or_raise(name)
    if part.has_database and not {"-h", "--help"} & set(arguments) and not _has_settings(layout, part):
        # The part itself will report the missing settings, but does not know of this command.
        local_database.report(f'{name} has no settings; to use those of the local stack: eval "$({KPI} env {name})"')
    command = part.command(*arguments)
    os.execv(command[0], command)  # noqa: S606 - no shell is needed


def print_environment(layout: Layout, name: str, *, as_json: bool) -> None:
    """Print what connects a part to the local stack, for a shell or as JSON; independent of the current folder."""
    part = parts.get_or_raise(name)
    settings = environments.own_settings(layout, part, local_database.known_ports(layout))
    files = [Path(value) for variable, value in settings.items() if variable.endswith("_FILE")]
    if not layout.ports.exists() or not all(file.exists() for file in files):
        raise FailureError(name, "the local stack has no settings yet: it has never been started", fix="make up")
    # A variable takes precedence over a file, so one that is already set would hide the stack's.
    present = [variable for variable in ("DATABASE_URL", *found_keys.NAMES) if variable in os.environ and files]
    print(json.dumps({"set": settings, "unset": present}) if as_json else _write_exports(settings, present))


def _write_exports(settings: Mapping[str, str], present: Sequence[str]) -> str:
    lines = [f"unset {' '.join(present)}"] if present else []
    exports = " ".join(f"{variable}={quote(value)}" for variable, value in settings.items())
    return "\n".join([*lines, f"export {exports}"])


def _has_settings(layout: Layout, part: Part) -> bool:
    folder = layout.checkout / part.folder / "config"
    files = [path for path in folder.glob(".env*") if path.name != ".env.example"]
    return bool(files) or environments.names_database() or bool(os.environ.get("AWS_SECRETS_ENABLED"))


def migrate(layout: Layout, words: Sequence[str], message: str | None, *, as_json: bool = False) -> None:
    """Upgrade, downgrade, or write a new migration, for the database that DATABASE_URL names or the local stack's."""
    if as_json:
        with outputs.on_standard_error():
            done = _migrate(layout, words, message)
        print(json.dumps(done))
    else:
        _migrate(layout, words, message)


def _migrate(layout: Layout, words: Sequence[str], message: str | None) -> dict[str, object]:
    """What was done, and in which services."""
    action, rest = (words[0], words[1:]) if words and words[0] in {"downgrade", "new"} else ("upgrade", words)
    name = rest[0] if rest else None
    _check_words(action, rest, message)
    if action == "downgrade":
        revision = rest[1] if len(rest) > 1 else "-1"
        _migrate_with_alembic(layout, _require_service(name, f"downgrade {{}} {revision}"), ["downgrade", revision])
    elif action == "new":
        part = _require_service(name, 'new {} -m "..."')
        _migrate_with_alembic(layout, part, revision_arguments(layout, part, message or ""), migrated=True)
    else:
        _upgrade(layout, None if name is None else _get_with_database(name))
    return {"done": action, "services": [name] if name else [part.name for part in parts.WITH_DATABASE]}


def _check_words(action: str, rest: Sequence[str], message: str | None) -> None:
    # Words that begin with a hyphen are passed on, since a revision may be -2.
    unknown = next((word for word in rest[:1] if word.startswith("--")), None)
    if unknown is not None:
        problem = f"no such option: {unknown}{suggest(unknown, _OPTIONS)}"
        raise FailureError("migrate", problem, fix=f"{KPI} migrate --help", code=2)
    new = f'{KPI} migrate new {rest[0] if rest else parts.WITH_DATABASE[0].name} -m "add bios"'
    if action == "new" and not (message or "").strip():
        problem, fix = "a new migration needs a message", new
    elif action != "new" and message is not None:
        problem, fix = "-m is only for: migrate new", new
    elif len(rest) > (2 if action == "downgrade" else 1):
        problem, fix = f"unexpected argument: {rest[-1]}", f"{KPI} migrate --help"
    elif action == "downgrade" and len(rest) > 1 and not re.fullmatch(r"-[1-9]\d*|\w+", rest[1]):
        problem, fix = f"{rest[1]} is not a revision", "give an identifier such as a001, steps such as -2, or base"
    else:
        return
    raise FailureError("migrate", problem, fix=fix, code=2)


def _require_service(name: str | None, words: str) -> Part:
    if name is None:
        raise FailureError(
            "migrate",
            "each service has its own database and migrations, so the name of one is required",
            fix=f"{KPI} migrate {words.format(parts.WITH_DATABASE[0].name)}",
            code=2,
        )
    return _get_with_database(name)


def revision_arguments(layout: Layout, part: Part, message: str) -> list[str]:
    """Alembic's, for a migration with the next number."""
    name = revisions.choose_name(layout.checkout / part.folder, is_own_project=layout.answers.exists())
    return ["revision", "--autogenerate", "--rev-id", name, "-m", message]


def _migrate_with_alembic(layout: Layout, part: Part, arguments: Sequence[str], *, migrated: bool = False) -> None:
    """``migrated``: on a database at the newest migration."""
    with _database_environment(layout, part) as environment:
        if migrated and (code := subprocess.run(part.command("migrate"), env=environment, check=False).returncode):
            raise FailureError(part.name, f"its migrations ended with exit code {code}", code=code)
        print(run_alembic(layout, part, arguments, environment), end="")


def run_alembic(layout: Layout, part: Part, arguments: Sequence[str], environment: dict[str, str]) -> str:
    """Run Alembic with the service's own configuration, and return its output, which its log is no part of."""
    file = str(layout.checkout / part.folder / "alembic.ini")
    if "%" in file:
        problem = (
            f"Alembic's own commands do not work below a folder with a percent sign in its name: {layout.checkout}"
        )
        raise FailureError(part.name, problem, fix="move the checkout", code=2)
    command = [sys.executable, "-m", "alembic", "-c", file, *arguments]
    # The paths that Alembic prints are then relative to the checkout.
    result = subprocess.run(
        command, env=environment, cwd=layout.checkout, stdout=subprocess.PIPE, text=True, check=False
    )
    if code := result.returncode:
        raise FailureError(
            part.name, f"alembic {arguments[0]} ended with exit code {code}", fix=f"{KPI} doctor", code=code
        )
    return result.stdout


@contextmanager
def _database_environment(layout: Layout, part: Part) -> Iterator[dict[str, str]]:
    if environments.names_database():
        yield dict(os.environ)
        return
    with local_database.use(layout) as ports:
        yield environments.environment(layout, part, ports)


def _upgrade(layout: Layout, part: Part | None) -> None:
    if environments.names_database():
        _migrate_named(part)
        return
    with local_database.use(layout) as ports:
        local_database.migrate(layout, ports, parts.WITH_DATABASE if part is None else (part,))


def _get_with_database(name: str) -> Part:
    known = {part.name: part for part in parts.PARTS}
    if name not in known:
        raise FailureError(
            "migrate",
            f"{name} is neither a service ({parts.join_names(parts.WITH_DATABASE, 'or')}) nor downgrade or new",
            fix=f"{KPI} migrate --help",
            code=2,
        )
    if not known[name].has_database:
        owners = parts.join_names(parts.WITH_DATABASE, "and")
        raise FailureError(name, f"it has no database; the parts with one are {owners}", code=2)
    return known[name]


def _migrate_named(part: Part | None) -> None:
    if part is None:
        first = parts.WITH_DATABASE[0].name
        raise FailureError(
            "migrate",
            "DATABASE_URL names one database, and each service has its own",
            fix=f"name its service ({parts.join_names(parts.WITH_DATABASE, 'or')}): {KPI} migrate {first}",
        )
    code = subprocess.run(part.command("migrate"), check=False).returncode
    if code:
        raise FailureError(part.name, f"its migrations ended with exit code {code}", code=code)
