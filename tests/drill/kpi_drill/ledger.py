"""What the platform has acknowledged, as its clients know it."""

from collections import defaultdict
from dataclasses import dataclass, field

from kpi_drill.http import Reply


@dataclass
class Person:
    """A registered user with one session, who does one thing at a time."""

    name: str
    address: str
    id: int = 0
    access_token: str = ""
    refresh_token: str = ""
    is_busy: bool = False
    # The session has ended, and the person did not end it.
    is_locked_out: bool = False
    # Posts whose vote is unknown, since no response said whether it was stored.
    unknown_votes: set[int] = field(default_factory=set)

    @property
    def bearer(self) -> tuple[str, str]:
        return ("Authorization", f"Bearer {self.access_token}")

    @property
    def origin(self) -> tuple[str, str]:
        return ("X-Forwarded-For", self.address)

    def take_tokens(self, reply: Reply) -> None:
        body = reply.json()
        self.access_token, self.refresh_token = body["access_token"], body["refresh_token"]


@dataclass
class Ledger:
    """Acknowledged writes, and which stored states each unknown outcome allows."""

    people: dict[str, int] = field(default_factory=dict)
    posts: dict[int, str] = field(default_factory=dict)
    # The states that a vote may have: one, or two if the last response did not come.
    votes: dict[tuple[int, int], set[int]] = field(default_factory=lambda: defaultdict(lambda: {0}))
    # Refresh tokens of sessions whose log-out was acknowledged; none of them may be accepted again.
    logged_out: list[str] = field(default_factory=list)
    # Tokens that were issued for a request that was sent after the log-out was acknowledged.
    issued_after_logout: int = 0
    # Sessions that ended that no request ended, as the client sees it.
    locked_out: list[str] = field(default_factory=list)
