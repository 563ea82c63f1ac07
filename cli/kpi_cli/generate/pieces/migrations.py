"""An empty migration, for what Alembic does not find by itself: data, triggers, concurrent indexes."""

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
    house = open_house(checkout, service)
    folder = f"{house.service.folder}/migrations/versions"
    known = revisions.read(checkout / house.service.folder)
    slug = _slug(message)
    heads = revisions.find_heads(known)
    if len(heads) != 1:
        found = f"several newest migrations: {', '.join(heads)}" if heads else "no migration"
        raise FailureError("make", f"{service} has {found}, and this one has to follow one", code=2)
    newest = known[heads[0]]
    if newest.file.stem.endswith(f"_{newest.name}_{slug}"):
        path, text = f"{folder}/{newest.file.name}", house.get(f"{folder}/{newest.file.name}")
    else:
        is_own_project = (checkout / ANSWERS).exists()
        revision = revisions.choose_name(checkout / house.service.folder, is_own_project=is_own_project)
        path = f"{folder}/{datetime.now(UTC):%Y_%m_%d}_{revision}_{slug}.py"
        text = render("pieces/migration.py.j2", message=message.strip(), revision=revision, down_revision=newest.name)
    return Plan(
        title=f"migration {slug} of {service}",
        changes=(NewFile(path, text),),
        notes=("write both directions, with op of alembic; make check runs it up, down and up again",),
    )


def _slug(message: str) -> str:
    words = re.findall(r"[a-z0-9]+", message.lower())
    if not words or not message.isprintable() or len(message) > _MAX_MESSAGE or any(sign in message for sign in '"\\'):
        sentence = f"the message of a migration is one line of words, at most {_MAX_MESSAGE} characters, without quotes"
        raise FailureError("make", sentence, code=2)
    # As Alembic does.
    return "_".join(words)[:40].rstrip("_")
