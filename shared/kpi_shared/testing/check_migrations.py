"""``python -m kpi_shared.testing.check_migrations FOLDER ...``: check that migrations are complete and reversible.

For each service, on a temporary PostgreSQL: upgrade to the newest revision, ``alembic check`` (the models need no
further migration), downgrade to the base, and upgrade again.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError

from kpi_shared.testing.postgres import URL_VARIABLE, TestServer, create_database


def main(folders: Sequence[str]) -> int:
    server = None
    if URL_VARIABLE not in os.environ:
        server = TestServer()
        os.environ[URL_VARIABLE] = server.url
    try:
        return max([_check(Path(folder)) for folder in folders], default=0)
    finally:
        if server is not None:
            server.stop()


def _check(folder: Path) -> int:
    os.environ["DATABASE_URL"] = create_database(f"check_{folder.name}")
    config = Config(folder / "alembic.ini", stdout=sys.stderr)
    steps: list[tuple[Any, ...]] = [
        (command.upgrade, "head"),
        (command.check,),
        (command.downgrade, "base"),
        (command.upgrade, "head"),
    ]
    for step, *arguments in steps:
        try:
            step(config, *arguments)
        except CommandError as error:
            print(f"{folder}: {error}", file=sys.stderr)
            return 1
    print(f"{folder}: migrations are complete and reversible")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
