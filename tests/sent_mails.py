"""The mails that a running stack has sent: files in a local folder, or in the container of the auth service."""

import re
import subprocess
import time
from dataclasses import dataclass
from email import message_from_string
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

_TIMEOUT_SECONDS = 20.0
_LINK = re.compile(r"https?://\S+#code=(\S+)")
# A line that separates the files and occurs in no mail.
_BETWEEN = "=====next-mail====="
_READ_ALL = (
    f'for file in /mails/*.eml; do [ -e "$file" ] && echo \'{_BETWEEN}\' && echo "$file" && cat "$file"; done; true'
)


@dataclass(frozen=True)
class Mail:
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
    """``folder`` is where the stack writes its mails, or None if it runs in containers."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def wait_for(self, address: str, *, after: int = 0) -> Mail:
        """Wait until there are more than ``after`` mails to an address, and return the newest."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            mails = self.mails(address)
            if len(mails) > after:
                return mails[-1]
            time.sleep(0.1)
        raise AssertionError(f"no mail {after + 1} to {address}")

    def mails(self, address: str) -> list[Mail]:
        """All mails to an address, the oldest first."""
        messages = [_parse(text) for text in self._texts()]
        return [
            _to_mail(message) for message in messages if message["To"] is not None and address in str(message["To"])
        ]

    def _texts(self) -> list[str]:
        if self._folder is not None:
            return [path.read_text("utf-8") for path in sorted(self._folder.glob("*.eml"), key=_number)]
        command = ["docker", "compose", "exec", "-T", "auth", "sh", "-c", _READ_ALL]
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        # The shell sorts mails of one second by their templates, not by their numbers.
        files = [part.partition("\n") for part in result.stdout.split(f"{_BETWEEN}\n")[1:]]
        return [text for name, _, text in sorted(files, key=lambda file: _number(Path(file[0])))]


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _parse(text: str) -> EmailMessage:
    message = message_from_string(text, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def _to_mail(message: EmailMessage) -> Mail:
    body = message.get_body(("plain",))
    assert body is not None
    return Mail(str(message["Subject"]), str(body.get_content()))
