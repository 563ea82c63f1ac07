"""Mails as files."""

import asyncio
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from kpi_kit.mail.contract import NO_HOOKS, Hooks, Letter
from kpi_kit.mail.errors import MailUnavailableError
from kpi_kit.mail.targets import Folder

log = logging.getLogger(__name__)

# What would lead to another folder, or needs quotes in a shell.
_UNSAFE = re.compile(r"[^\w.-]", re.ASCII)


def _log_written(path: Path, _letter: Letter) -> None:
    log.info("mail written: %s", path)


class FolderTransport:
    """Writes each mail to a file that mail programs can open; the same mail always to the same file."""

    def __init__(self, folder: Path, *, report: Callable[[Path, Letter], None] = _log_written) -> None:
        self._folder = folder
        self._report = report

    async def send(self, letter: Letter, hooks: Hooks = NO_HOOKS) -> None:
        await hooks.begin_content()
        name = _UNSAFE.sub("_", f"{letter.created_at:%Y%m%dT%H%M%S}-{letter.template}-{letter.mail_id}")
        path = self._folder / f"{name}.eml"
        try:
            await asyncio.to_thread(
                _write, path, letter.message.as_bytes(policy=letter.message.policy.clone(linesep="\n"))
            )
        except OSError as error:
            raise MailUnavailableError(f"{self._folder}: {error.strerror or type(error).__name__}") from None
        self._report(path, letter)
        await hooks.accept()

    async def close(self) -> None:
        """Nothing is open between two mails."""


def _write(path: Path, content: bytes) -> None:
    """Write atomically, readable by the owner only: the mail may contain a link that gives access to an account."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def create_driver(target: Folder) -> FolderTransport:
    return FolderTransport(target.path)
