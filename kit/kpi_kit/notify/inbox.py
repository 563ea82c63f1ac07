"""A notification as its recipient reads it in a table."""

from dataclasses import dataclass, field
from datetime import datetime

from pydantic import JsonValue


@dataclass(frozen=True)
class StoredNotification:
    """``read_at`` is None while it is unread."""

    id: int
    kind: str
    data: dict[str, JsonValue] = field(repr=False)
    created_at: datetime
    read_at: datetime | None
