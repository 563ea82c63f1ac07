"""Makes the keys and passwords of a stack that has none yet: once, and never over an existing one.

This file imports the standard library only and runs as a script too (``python vault.py DIRECTORY``), because
the compose stack runs it as a one-shot job in a bare Python image.
"""

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

SERVICES = ("auth", "content")


def _key() -> str:
    return secrets.token_hex(32)


def _password() -> str:
    return secrets.token_hex(24)


MAKERS: dict[str, Callable[[], str]] = {
    "paseto_secret_key": _key,
    "postgres_password": _password,
    **{f"{service}_database_password": _password for service in SERVICES},
}

FILES = (*MAKERS, *(f"{service}_database_url" for service in SERVICES))


PREVIOUS_KEYS = "paseto_previous_keys"


def database_url(service: str, password: str, host: str) -> str:
    """The address of a service's own database; role and database share the name ``kpi_SERVICE``."""
    return f"postgresql://kpi_{service}:{password}@{host}/kpi_{service}"


def write(path: Path, text: str) -> None:
    """Put the whole text in place at once: a full disk or a kill leaves the old file or none."""
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path) -> str:
    """The secret in a file, or an empty text when there is none."""
    return path.read_text(encoding="ascii").strip() if path.exists() else ""


def ensure(directory: Path) -> list[str]:
    """Make what is missing or empty, and return the names of what was made."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    missing = [name for name in MAKERS if not read(directory / name)]
    for name in missing:
        write(directory / name, MAKERS[name]())
    # Keys that only open what they once sealed, separated by commas: none, until an operator rotates.
    if not (directory / PREVIOUS_KEYS).exists():
        write(directory / PREVIOUS_KEYS, "")
    return missing


def write_database_urls(directory: Path, host: str) -> None:
    """Write ``SERVICE_database_url`` for a database server at ``HOST:PORT``."""
    for service in SERVICES:
        path = directory / f"{service}_database_url"
        url = database_url(service, read(directory / f"{service}_database_password"), host)
        if read(path) != url:
            write(path, url)


def give(directory: Path, owners: Sequence[str]) -> None:
    """Hand files to users of containers: ``FILE=UID``, or ``FILE=UID:GID`` so that a group may read too."""
    for owner in owners:
        name, _, ids = owner.partition("=")
        uid, _, gid = ids.partition(":")
        path = directory / name
        os.chown(path, int(uid), int(gid) if gid else -1)
        path.chmod(0o440 if gid else 0o400)
    if owners:
        # Their owners must be able to pass through the folder to their file, and need not list it.
        directory.chmod(0o711)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a script; prints names, never values."""
    parser = argparse.ArgumentParser(description="Make the keys and passwords that are missing in DIRECTORY.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--database-host", metavar="HOST:PORT", help="also write the services' database URLs")
    parser.add_argument("--owner", action="append", default=[], metavar="FILE=UID[:GID]", help="hand a file over")
    options = parser.parse_args(arguments)
    made = ensure(options.directory)
    if options.database_host:
        write_database_urls(options.directory, options.database_host)
    give(options.directory, options.owner)
    print(f"vault: made {', '.join(made)}" if made else "vault: everything was there already")
    return 0


if __name__ == "__main__":
    sys.exit(main())
