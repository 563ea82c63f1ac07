"""``kpi keys rotate``, ``status`` and ``kill``: which ring is meant, and how auth is asked about it."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kpi_cli import auth_process, parts
from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.operations import auth_commands
from kpi_cli.stack import environments, local_database, state
from kpi_cli.token_keys import files
from kpi_cli.token_keys.holders import Ask, take_census
from kpi_cli.token_keys.killing import Killer, describe_stop
from kpi_cli.token_keys.overview import describe, to_lines
from kpi_cli.token_keys.paserk import Purpose
from kpi_cli.token_keys.rotation import Plan, Rotator
from kpi_cli.token_keys.store import FileStore, Store

VERIFYING = tuple(part.name for part in parts.VERIFYING)


@dataclass(frozen=True)
class Place:
    """Where the ring is, as the options say; all empty: in the local stack."""

    file: Path | None = None
    aws: str | None = None
    # The files, or the AWS secrets, of the parts that only verify.
    copies: Sequence[str] = ()
    # Parts that have no keys of tokens here.
    without: Sequence[str] = ()

    @property
    def is_local_stack(self) -> bool:
        return self.file is None and self.aws is None


def make_ring(
    path: Path, copies: Sequence[Path], purpose: Purpose, hex_files: Sequence[Path], *, as_json: bool
) -> None:
    """The first ring of an installation that is not the local stack."""
    try:
        ring = files.make_first(path, copies, purpose, hex_files)
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "a file has more than hex digits"
        raise FailureError("keys", f"{getattr(error, 'filename', None) or path}: {problem}", code=1) from None
    kid = ring.active.kid if ring.active else None
    made = ", ".join(map(str, (path, *copies)))
    print(json.dumps({"active": kid}) if as_json else f"kpi: made {made}; the tokens' key is {kid}")


def rotate(
    layout: Layout, place: Place, *, wait: int | None, retire: bool, ignored: Sequence[str], as_json: bool
) -> None:
    """A whole rotation, or the rest of one that has been begun."""
    store = open_store(layout, place)
    if _is_all_stopped(layout, place):
        local_database.report("the stack is stopped, so no process has a key: nothing is waited for")
        # What was reported before it stopped.
        retire, ignored = False, ("*",)
    try:
        with _open_ask(layout, place) as ask:
            plan = Plan(_find_expected(layout, place), wait, retire, tuple(ignored))
            ring = Rotator(store, ask, plan, local_database.report).run()
    except KeyboardInterrupt:
        stopped = "stopped; what is done is in the key ring"
        raise FailureError("keys", stopped, fix=f"{KPI} keys rotate continues", code=130) from None
    kid = ring.active.kid if ring.active else None
    print(json.dumps({"active": kid}) if as_json else f"kpi: the tokens' key is now {kid}")


def print_status(layout: Layout, place: Place, *, as_json: bool) -> None:
    """The keys, who holds them, and what is next."""
    ring = open_store(layout, place).read()
    census = None
    if _names_auth(place) and not _is_all_stopped(layout, place):
        with _open_ask(layout, place) as ask:
            census = take_census(ask, _find_expected(layout, place))
    found = describe(ring, census)
    print(json.dumps(found, indent=2) if as_json else "\n".join(to_lines(found)))


def kill(layout: Layout, place: Place, beginning: str, *, at_once: bool, as_json: bool) -> None:
    """Refuse a key everywhere, for ever; if it minted, another one does first."""
    store = open_store(layout, place)
    at_once = at_once or _is_all_stopped(layout, place)
    try:
        with _open_late(layout, place) as ask:
            kid = Killer(store, ask, _find_expected(layout, place), local_database.report, at_once).run(beginning)
    except KeyboardInterrupt:
        raise describe_stop(store, beginning) from None
    if as_json:
        print(json.dumps({"killed": kid}))
        return
    print(f"kpi: {kid} is killed: its tokens are refused, and clients get new ones by their next refresh")


def open_store(layout: Layout, place: Place) -> Store:
    """The ring that is meant; raises FailureError if that is not clear."""
    if place.aws is not None:
        from kpi_cli.operations.aws_ring import AwsStore  # noqa: PLC0415 - importing boto3 takes longer than the rest

        return AwsStore(place.aws, place.copies)
    if place.file is not None:
        return FileStore(place.file, [Path(copy) for copy in place.copies])
    if environments.names_database():
        fix = f"{KPI} keys rotate --file PASETO_KEYS_FILE, or unset DATABASE_URL"
        raise FailureError("keys", "DATABASE_URL names an installation, and its key ring is not known", fix=fix, code=2)
    if not (layout.secrets / files.RING).exists():
        raise FailureError("keys", "the local stack has no key ring yet", fix="make up")
    return files.store_in(layout.secrets)


@contextmanager
def _open_late(layout: Layout, place: Place) -> Iterator[Ask]:
    """As ``_open_ask``, at the first question: what prevents that is its failure, and the caller goes on."""
    with ExitStack() as opened:
        found: list[Ask] = []

        def ask(command: str, request: Mapping[str, object], *, seconds: float | None = None) -> dict[str, Any]:
            if not found:
                found.append(opened.enter_context(_open_ask(layout, place)))
            return found[0](command, request, seconds=seconds)

        yield ask


@contextmanager
def _open_ask(layout: Layout, place: Place) -> Iterator[Ask]:
    """Auth's own commands: with the settings of the shell, or else of the local stack."""
    if not _names_auth(place):
        problem = "auth cannot be asked: the shell has no settings of the installation"
        raise FailureError("keys", problem, fix="set DATABASE_URL and auth's other settings (docs/keys.md)", code=2)
    if not place.is_local_stack:
        yield _asking(os.environ)
        return
    with auth_commands.environment(layout) as environment:
        yield _asking(environment)


def _names_auth(place: Place) -> bool:
    """Whether it is known which auth a ring belongs to."""
    return place.is_local_stack or environments.names_database() or bool(os.environ.get("AWS_SECRETS_ENABLED"))


def _asking(environment: Mapping[str, str]) -> Ask:
    def ask(command: str, request: Mapping[str, object], *, seconds: float | None = None) -> dict[str, Any]:
        return auth_process.run(environment, command, request, seconds=seconds)

    return ask


def _find_expected(layout: Layout, place: Place) -> tuple[str, ...]:
    """The parts of which a process has to report: none of a local stack that is stopped."""
    if _is_all_stopped(layout, place):
        return ()
    return tuple(part for part in VERIFYING if part not in place.without)


def _is_all_stopped(layout: Layout, place: Place) -> bool:
    running = state.read(layout)
    return place.is_local_stack and (running is None or running.phase is state.Phase.DATABASE)
