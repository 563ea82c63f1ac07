"""``kpi mail``: the e-mails that the local stack has written to files instead of sending them.

A mail may hold what a stranger has typed, so nothing of it is printed as it is: a terminal would obey what it contains.
"""

import json
import re
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.operations import outputs, tables
from kpi_cli.stack import terminal

# The number in the outbox, at the end of a file's name.
_NUMBER = re.compile(r"-(\d{1,18})$")
_LINK = re.compile(r"https?://[^\s<>\"']+")
# As in a mail program: a mail runs no script, and loads nothing.
_POLICY = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">\n"""
_COLUMNS = ("number", "time", "to", "subject", "link")
_HEADERS = ("From", "To", "Subject", "Date", "Message-ID")


@dataclass(frozen=True)
class Mail:
    """A mail that can be read, and its number in the outbox, by which it is asked for."""

    number: int
    path: Path
    message: EmailMessage

    @property
    def text(self) -> str:
        return _read_body(self.message, "plain") or _read_body(self.message, "html")

    @property
    def html(self) -> str:
        return _read_body(self.message, "html")

    @property
    def link(self) -> str | None:
        """The first one in its text, which is what the mail is about."""
        found = _LINK.search(_read_body(self.message, "plain"))
        return found[0] if found is not None else None

    @property
    def time(self) -> str:
        try:
            written = parsedate_to_datetime(self.header("Date")).astimezone(UTC)
        except (ValueError, OverflowError):
            written = datetime.fromtimestamp(self.path.stat().st_mtime, UTC)
        return f"{written:%Y-%m-%dT%H:%M:%SZ}"

    def header(self, name: str) -> str:
        try:
            return str(self.message.get(name, ""))
        except (ValueError, IndexError, AttributeError):
            # The library cannot parse every broken header.
            return ""

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "time": self.time,
            "to": self.header("To"),
            "subject": self.header("Subject"),
            "link": self.link,
            "file": str(self.path),
        }


def print_list(layout: Layout, *, limit: int, as_json: bool) -> None:
    """Print the mails, newest first."""
    found = _find_all(layout)[:limit]
    if as_json:
        print(json.dumps({"mails": [mail.as_json() for mail in found]}, indent=2))
        return
    rows = [{name: value and _clean(str(value)) for name, value in mail.as_json().items()} for mail in found]
    tables.print_rows(_COLUMNS, rows)


def show(layout: Layout, number: int | None, *, as_json: bool) -> None:
    """Print the headers and the text of a mail, of the newest without a number."""
    mail = _get(layout, number)
    if as_json:
        print(json.dumps({**mail.as_json(), "text": mail.text, "html": mail.html or None}, indent=2))
        return
    with outputs.until_closed():
        for name in _HEADERS:
            print(f"{name}: {_clean(mail.header(name))}")
        print()
        print("\n".join(_clean(line) for line in mail.text.splitlines()))


def open_in_browser(layout: Layout, number: int | None, *, as_json: bool) -> None:
    """Open the HTML of a mail; print the file, for those who have no browser here."""
    mail = _get(layout, number)
    if not mail.html:
        raise FailureError("mail", f"the mail {mail.number} has no HTML", fix=f"{KPI} mail show {mail.number}")
    page = mail.path.with_suffix(".html")
    page.touch(mode=0o600)
    page.write_text(_POLICY + mail.html, encoding="utf-8", errors="replace")
    is_open = _has_browser() and webbrowser.open(page.as_uri())
    if as_json:
        print(json.dumps({"number": mail.number, "file": str(page), "opened": is_open}))
    else:
        print(f"kpi: opened {page}" if is_open else f"kpi: no browser was found; open this file: {page}")


def _has_browser() -> bool:
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def _find_all(layout: Layout) -> list[Mail]:
    if not layout.mails.is_dir():
        problem = "the local stack has written no e-mails yet"
        raise FailureError(
            "mail", problem, fix="make up, then register an account; with MAIL_URL mails are sent instead"
        )
    found = [mail for path in layout.mails.glob("*.eml") if (mail := _read(path)) is not None]
    return sorted(found, key=lambda mail: (mail.time, mail.number), reverse=True)


def _get(layout: Layout, number: int | None) -> Mail:
    found = _find_all(layout)
    chosen = found if number is None else [mail for mail in found if mail.number == number]
    if not chosen:
        what = "are no mails" if number is None else f"is no mail {number}"
        raise FailureError("mail", f"there {what} in {layout.shorten(layout.mails)}", fix=f"{KPI} mail list")
    return chosen[0]


def _read(path: Path) -> Mail | None:
    match = _NUMBER.search(path.stem)
    try:
        message = message_from_bytes(path.read_bytes(), policy=policy.default)
    except OSError:
        # It was deleted meanwhile.
        return None
    return Mail(int(match[1]), path, message) if match is not None and isinstance(message, EmailMessage) else None


def _read_body(message: EmailMessage, kind: str) -> str:
    """The text of a body, or nothing if the mail has none of this kind, or one that cannot be decoded."""
    preferences: Sequence[str] = (kind,)
    try:
        body = message.get_body(preferencelist=preferences)
        return str(body.get_content()) if body is not None else ""
    except (LookupError, ValueError, AttributeError):
        return ""


def _clean(text: str) -> str:
    return terminal.replace_controls(text)
