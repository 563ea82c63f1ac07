"""The mails that a running stack has sent: files in a folder here, or in the container of the auth service."""

import re
import subprocess
import time
from dataclasses import dataclass
from email import message_from_string
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

_PATIENCE_SECONDS = 20.0
_LINK = re.compile(r"https?://\S+#code=(\S+)")
# Each file's text behind its name, with a line between that no mail holds.
_BETWEEN = "=====next-mail====="
_READ_ALL = f'for file in /mails/*.eml; do [ -e "$file" ] && echo \'{_BETWEEN}\' && cat "$file"; done; true'


@dataclass(frozen=True)
class Letter:
    subject: str
    text: str

    @property
    def link(self) -> str:
        found = _LINK.search(self.text)
        assert found, self.text
        return found[0]

    @property
    def code(self) -> str:
        found = _LINK.search(self.text)
        assert found, self.text
        return found[1]


class Mailbox:
    """``folder`` is where the stack writes its mails, or None where it runs in containers."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def wait_for(self, address: str, *, after: int = 0) -> Letter:
        """The newest letter to an address, once there are more than ``after``."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            letters = self.letters(address)
            if len(letters) > after:
                return letters[-1]
            time.sleep(0.1)
        raise AssertionError(f"no mail {after + 1} to {address}")

    def letters(self, address: str) -> list[Letter]:
        """All letters to an address, the oldest first."""
        mails = [_parsed(text) for text in self._texts()]
        return [_letter(mail) for mail in mails if mail["To"] is not None and address in str(mail["To"])]

    def _texts(self) -> list[str]:
        if self._folder is not None:
            return [path.read_text("utf-8") for path in sorted(self._folder.glob("*.eml"), key=_number)]
        command = ["docker", "compose", "exec", "-T", "auth", "sh", "-c", _READ_ALL]
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return result.stdout.split(f"{_BETWEEN}\n")[1:]


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _parsed(text: str) -> EmailMessage:
    mail = message_from_string(text, policy=default)
    assert isinstance(mail, EmailMessage)
    return mail


def _letter(mail: EmailMessage) -> Letter:
    body = mail.get_body(("plain",))
    assert body is not None
    return Letter(str(mail["Subject"]), str(body.get_content()))
