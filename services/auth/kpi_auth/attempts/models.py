"""Recent attempts, counted for all replicas together."""

import hashlib
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Column, DateTime, LargeBinary
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field

from kpi_auth.tables import Table


class AttemptLog(Table, table=True):
    """The times of the attempts under one key: a sliding window in one row, so that one statement counts and adds."""

    __tablename__ = "attempts"
    # A digest of what is limited (an address, a login as typed), so that the table holds no personal data.
    key: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    times: list[datetime] = Field(sa_column=Column(ARRAY(DateTime(timezone=True)), nullable=False))
    # When the newest attempt leaves its window and the row can be deleted. It changes with each attempt: an index would
    # cost more than scanning this small table once an hour.
    forget_at: datetime = Field(sa_type=DateTime(timezone=True))
    # When the audit log last recorded that the limit was reached: once per window, so that a flood cannot fill the log.
    told_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class Limit(NamedTuple):
    """At most ``most`` attempts of a kind by, or at, ``of`` within the window."""

    kind: str
    of: str
    most: int
    window: timedelta

    @property
    def key(self) -> bytes:
        """Two kinds never share a key, since no kind contains a line break."""
        return hashlib.sha256(f"{self.kind}\n{self.of}".encode()).digest()


class Added(NamedTuple):
    """Under how many of the keys an attempt was counted, and when."""

    keys: int
    moment: datetime


class Admission(NamedTuple):
    """An attempt that is allowed; it stays counted unless it is forgiven.

    ``familiar`` are the keys to remember if it proves to be the owner's.
    """

    keys: tuple[bytes, ...]
    moment: datetime
    familiar: tuple[bytes, ...] = ()
