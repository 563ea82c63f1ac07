"""Files with secrets: written as a whole or not at all, and readable by their owner alone from the first byte on.

It imports the standard library only, since jobs in containers use it.
"""

import os
from collections.abc import Sequence
from pathlib import Path

_OWN_ONLY = 0o600


def write(path: Path, text: str) -> None:
    """Write the whole text at once: after a full disk or a kill there is the old file or none.

    A file that replaces another keeps its owner and its mode, so that the parts that could read it still can.
    """
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWN_ONLY)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            _copy_access(path, file.fileno())
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path) -> str:
    """The secret in a file, or an empty text when there is no file."""
    return path.read_text(encoding="ascii").strip() if path.exists() else ""


def hand_over(directory: Path, owners: Sequence[str]) -> None:
    """Give files to users of containers: ``FILE=UID``, or ``FILE=UID:GID`` so that a group may read them too."""
    for owner in owners:
        name, _, ids = owner.partition("=")
        uid, _, gid = ids.partition(":")
        path = directory / name
        os.chown(path, int(uid), int(gid) if gid else -1)
        path.chmod(0o440 if gid else 0o400)
    if owners:
        # The owners must be able to pass through the folder to their file, and need not list it.
        directory.chmod(0o711)


def _copy_access(path: Path, descriptor: int) -> None:
    if not path.exists():
        return
    old, new = path.stat(), os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, old.st_mode & 0o7777)
