"""Migrations of what Alembic does not find by itself: data, triggers, concurrent indexes; the tables of the queue."""

import re
from datetime import UTC, datetime
from pathlib import Path

from kpi_cli import revisions
from kpi_cli.errors import FailureError
from kpi_cli.generate.changes import NewFile, Plan
from kpi_cli.generate.pieces.house import open_house
from kpi_cli.generate.rendering import render
from kpi_cli.layout import ANSWERS

_MAX_MESSAGE = 100


def plan_migration(checkout: Path, *, message: str, service: str) -> Plan:
    """A revision after the newest one; none if the newest says the same."""
    note = "write both directions, with op of alembic; make check runs it up, down and up again"
    return _plan(checkout, message=message, service=service, template="migration", note=note)


def plan_queue(checkout: Path, *, service: str) -> Plan:
    """The schema of ``kpi_kit.queue``, which is not among the models of the service."""
    note = 'to push and run jobs, see docs/kit.md: with in_own_database = ("queue",) in the settings, no URL is needed'
    return _plan(checkout, message="queue", service=service, template="queue_migration", note=note, is_unique=True)


def _plan(checkout: Path, *, message: str, service: str, template: str, note: str, is_unique: bool = False) -> Plan:
    house = open_house(checkout, service)
    folder = f"{house.service.folder}/migrations/versions"
    known = revisions.read(checkout / house.service.folder)
    slug = _slug(message)
    heads = revisions.find_heads(known)
    if len(heads) != 1:
        found = f"several newest migrations: {', '.join(heads)}" if heads else "no migration"
        raise FailureError("make", f"{service} has {found}, and this one has to follow one", code=2)
    newest = known[heads[0]]
    there = next((each for each in (known.values() if is_unique else [newest]) if _says(each, slug)), None)
    if there is not None:
        path, text = f"{folder}/{there.file.name}", house.get(f"{folder}/{there.file.name}")
    else:
        is_own_project = (checkout / ANSWERS).exists()
        revision = revisions.choose_name(checkout / house.service.folder, is_own_project=is_own_project)
        path = f"{folder}/{datetime.now(UTC):%Y_%m_%d}_{revision}_{slug}.py"
        text = render(f"pieces/{template}.py.j2", message=message.strip(), revision=revision, down_revision=newest.name)
    return Plan(
        title=f"migration {slug} of {service}",
        changes=(NewFile(path, text),),
        notes=(note,),
    )


def _says(revision: revisions.Revision, slug: str) -> bool:
    return revision.file.stem.endswith(f"_{revision.name}_{slug}")


def _slug(message: str) -> str:
    words = re.findall(r"[a-z0-9]+", message.lower())
    if not words or not message.isprintable() or len(message) > _MAX_MESSAGE or any(sign in message for sign in '"\\'):
        sentence = f"the message of a migration is one line of words, at most {_MAX_MESSAGE} characters, without quotes"
        raise FailureError("make", sentence, code=2)
    # As Alembic does.
    return "_".join(words)[:40].rstrip("_")
