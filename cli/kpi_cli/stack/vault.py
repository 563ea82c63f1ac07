"""Makes the keys and passwords that a stack does not have yet: once, and never over an existing one.

It imports the standard library only and runs as a program too (``python -m kpi_cli.stack.vault DIRECTORY``), because
the compose stack runs it as a one-shot job in a bare Python image.
"""

import argparse
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from kpi_cli.parts import FOLLOWERS_GID, GATEWAY, PARTS, WITH_DATABASE, Part
from kpi_cli.secret_files import hand_over, read, write


def _make_key() -> str:
    return secrets.token_hex(32)


def _make_password() -> str:
    return secrets.token_hex(24)


MAKERS: dict[str, Callable[[], str]] = {
    "auth_secret_key": _make_key,
    # How the gateway is known on the internal port of auth, and how the services that read its events are.
    "internal_key": _make_key,
    "feed_key": _make_key,
    "postgres_password": _make_password,
    **{f"{part.name}_database_password": _make_password for part in WITH_DATABASE},
}

FILES = (*MAKERS, *(f"{part.name}_database_url" for part in WITH_DATABASE))

__all__ = ["FILES", "MAKERS", "PREVIOUS_KEYS", "database_url", "ensure", "read", "write", "write_database_urls"]


# Former keys, separated by commas, that are still accepted; the file is empty until an operator replaces a key.
PREVIOUS_KEYS = ("auth_previous_secret_keys", "feed_previous_keys")


def database_url(part: Part, password: str, host: str) -> str:
    """The address of a part's own database; its role has the same name."""
    return f"postgresql://{part.database}:{password}@{host}/{part.database}"


def ensure(directory: Path) -> list[str]:
    """Make each secret that is missing or empty, and return the names of those."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    missing = [name for name in MAKERS if not read(directory / name)]
    for name in missing:
        write(directory / name, MAKERS[name]())
    for name in PREVIOUS_KEYS:
        if not (directory / name).exists():
            write(directory / name, "")
    return missing


def write_database_urls(directory: Path, host: str) -> None:
    """Write ``PART_database_url`` for a database server at ``HOST:PORT``."""
    for part in WITH_DATABASE:
        path = directory / f"{part.name}_database_url"
        url = database_url(part, read(directory / f"{part.name}_database_password"), host)
        if read(path) != url:
            write(path, url)


def list_owners() -> list[str]:
    """Which user, and which group, may read a file in containers: ``FILE=UID`` or ``FILE=UID:GID``."""
    auth = next(part for part in PARTS if part.has_internal_port)
    return [
        *(f"{part.name}_database_url={part.uid}" for part in WITH_DATABASE),
        *(f"{name}={auth.uid}" for name in ("auth_secret_key", *PREVIOUS_KEYS)),
        f"internal_key={auth.uid}:{GATEWAY.uid}",
        f"feed_key={auth.uid}:{FOLLOWERS_GID}",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; prints names, never values."""
    parser = argparse.ArgumentParser(
        prog="python -m kpi_cli.stack.vault", description="Make the keys and passwords that are missing in DIRECTORY."
    )
    parser.add_argument("directory", type=Path, metavar="DIRECTORY")
    parser.add_argument("--database-host", metavar="HOST:PORT", help="write the database URLs of the services too")
    parser.add_argument(
        "--containers", action="store_true", help="let the user of each part's container read what the part needs"
    )
    options = parser.parse_args(arguments)
    made = ensure(options.directory)
    if options.database_host:
        write_database_urls(options.directory, options.database_host)
    if options.containers:
        hand_over(options.directory, list_owners())
    print(f"vault: made {', '.join(made)}" if made else "vault: all secrets exist already")
    return 0


if __name__ == "__main__":
    sys.exit(main())
