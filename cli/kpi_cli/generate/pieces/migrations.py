"""An empty migration, for what Alembic does not find by itself: data, triggers, concurrent indexes."""

import re
from datetime import UTC, datetime
from pathlib import Path

from kpi_cli.errors import FailureError
from kpi_cli.generate.changes import NewFile, Plan
from kpi_cli.generate.pieces.house import open_house
from kpi_cli.generate.rendering import render

_FILE = re.compile(r"\d{4}_\d\d_\d\d_(?P<letter>[a-z])(?P<number>\d{3})_(?P<slug>\w+)\.py")
_MAX_MESSAGE = 100


def plan_migration(checkout: Path, *, message: str, service: str) -> Plan:
    """A revision after the newest one; none if the newest says the same."""
    house = open_house(checkout, service)
    folder = f"{house.service.folder}/migrations/versions"
    files = [found for file in (checkout / folder).glob("*.py") if (found := _FILE.fullmatch(file.name))]
    slug = _slug(message)
    newest = max(files, key=lambda file: int(file["number"]), default=None)
    if newest is None:
        raise FailureError("make", f"{service} has no migration after which this one would come", code=2)
    if newest["slug"] == slug:
        path, text = f"{folder}/{newest[0]}", house.get(f"{folder}/{newest[0]}")
    else:
        revision, date = f"{newest['letter']}{int(newest['number']) + 1:03}", datetime.now(UTC)
        path = f"{folder}/{date:%Y_%m_%d}_{revision}_{slug}.py"
        down = f"{newest['letter']}{newest['number']}"
        text = render("pieces/migration.py.j2", message=message.strip(), revision=revision, down_revision=down)
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
