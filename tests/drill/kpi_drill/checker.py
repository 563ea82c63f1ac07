"""Compares every acknowledged write with what is stored."""

import asyncio
import email
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from kpi_drill.database import Server
from kpi_drill.http import post_form
from kpi_drill.ledger import Ledger
from kpi_drill.load import API, Load

_MAIL_SECONDS = 60.0


@dataclass(frozen=True)
class Losses:
    """How many acknowledged writes are not stored as they were acknowledged, by kind."""

    posts: int = 0
    votes: int = 0
    # Posts whose number of votes is not the number of their rows.
    drift: int = 0
    people: int = 0
    # Sessions that ended that no request ended.
    sessions_ended: int = 0
    # Tokens that were issued, and refresh tokens accepted, after an acknowledged log-out.
    tokens_after_logout: int = 0
    mails_lost: int = 0

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    def __str__(self) -> str:
        found = {name.replace("_", " "): count for name, count in asdict(self).items() if count}
        return ", ".join(f"{count} {name}" for name, count in found.items()) or "0 lost"


async def check(load: Load, server: Server, mails: Path | None) -> Losses:
    """Compare, once the platform is ready again and the load has stopped. ``mails`` is where auth writes its mails."""
    ledger = load.ledger
    await refresh_everyone(load)
    tokens = ledger.issued_after_logout + await _count_accepted(load)
    stored = await asyncio.to_thread(_compare, ledger, server)
    lost = await count_lost_mails(ledger, mails) if mails else 0
    return Losses(**stored, sessions_ended=len(ledger.locked_out), tokens_after_logout=tokens, mails_lost=lost)


async def refresh_everyone(load: Load) -> None:
    """Each session of which the last response is known has to be alive."""
    for person in load.people:
        if not person.is_locked_out:
            await load.refresh(person)


async def _count_accepted(load: Load) -> int:
    accepted = 0
    for token in load.ledger.logged_out:
        reply = await load.send_alone(post_form(f"{API}/auth/refresh", {"refresh_token": token}))
        accepted += reply.status == 200
    return accepted


def _compare(ledger: Ledger, server: Server) -> dict[str, int]:
    posts = dict(server.query("drill_content", "SELECT id, title FROM posts"))
    people = dict(server.query("drill_auth", "SELECT username, id FROM users"))
    votes = set(server.query("drill_content", "SELECT user_id, post_id FROM votes"))
    drift = server.query(
        "drill_content",
        "SELECT count(*) FROM posts WHERE votes <> (SELECT count(*) FROM votes v WHERE v.post_id = posts.id)",
    )
    return {
        "posts": _count_differences(ledger.posts, posts),
        "people": _count_differences(ledger.people, people),
        "votes": sum(int(key in votes) not in allowed for key, allowed in ledger.votes.items()),
        "drift": int(str(drift[0][0])),
    }


def _count_differences(
    acknowledged: Mapping[object, object] | Mapping[int, str] | Mapping[str, int], stored: Mapping[object, object]
) -> int:
    return sum(stored.get(key) != value for key, value in acknowledged.items())


async def count_lost_mails(ledger: Ledger, folder: Path, patience: float = _MAIL_SECONDS) -> int:
    """How many registrations have got no mail, after a patience that no worker should need."""
    wanted = {f"{name}@example.com" for name in ledger.people}
    deadline = time.monotonic() + patience
    while (missing := wanted - set(recipients(folder))) and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
    return len(missing)


def recipients(folder: Path) -> Counter[str]:
    """How many mails each address has got."""
    files = folder.glob("*.eml")
    return Counter(str(email.message_from_bytes(path.read_bytes())["To"]).strip() for path in files)
