"""The query and the response of the audit trail."""

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any

from kpi_shared.addresses import parse_address
from kpi_shared.cursors import cursor_length
from kpi_shared.database import MAX_ID
from kpi_shared.integers import Decimal
from kpi_shared.times import Moment
from pydantic import IPvAnyAddress, StringConstraints
from sqlmodel import Field, SQLModel

from kpi_auth.audit.filters import AuditFilter
from kpi_auth.audit.models import Event

# A position is one 64-bit id, or a time and an id.
_Shortest, _Longest = cursor_length(8), cursor_length(16)
_Id = Annotated[Decimal, Field(ge=1, le=MAX_ID)]


class AuditQuery(SQLModel):
    """Which records to list, newest first; with ``since`` or ``until`` in the order of their times."""

    model_config = {"extra": "forbid"}

    limit: Annotated[
        Decimal,
        Field(ge=1, le=100, description="Maximum number of records on a page; NDJSON without a limit has all records"),
    ] = 10
    cursor: Annotated[
        Annotated[str, StringConstraints(min_length=_Shortest, max_length=_Longest)] | None,
        Field(description="The value of next on the previous page"),
    ] = None
    event: Annotated[Event | None, Field(description="Only this event")] = None
    actor_id: Annotated[_Id | None, Field(description="The id of the user who caused the event")] = None
    subject_id: Annotated[_Id | None, Field(description="The id of the user whom the event affected")] = None
    key_id: Annotated[_Id | None, Field(description="Only events about this API key, or of requests with it")] = None
    address: Annotated[IPvAnyAddress | None, Field(description="Only events from this client address")] = None
    since: Annotated[Moment | None, Field(description="Only events at or after this time")] = None
    until: Annotated[Moment | None, Field(description="Only events before this time")] = None

    @property
    def filter(self) -> AuditFilter:
        given = self.model_dump(include={"event", "actor_id", "subject_id", "key_id", "address", "since", "until"})
        return AuditFilter({name: _to_value(value) for name, value in given.items() if value is not None})


def _to_value(value: object) -> object:
    """Addresses have the form in which records have them: IPv4 if they are IPv4-mapped."""
    if isinstance(value, IPv4Address | IPv6Address):
        return str(parse_address(str(value)))
    return value if isinstance(value, int | datetime) else str(value)


class AuditEntry(SQLModel):
    """One event: the user ``actor_id`` acted on the user ``subject_id``; null if unknown.

    ``key_id`` is the API key that the event is about, or else that of the request. ``seq`` is the place of the record
    in the chain; a new record has none for about a second.
    """

    id: int
    at: datetime
    event: str
    actor_id: int | None
    subject_id: int | None
    key_id: int | None
    address: str | None
    user_agent: str | None
    request_id: str | None
    details: dict[str, Any]
    seq: int | None


class AuditPage(SQLModel):
    items: list[AuditEntry]
    next: str | None
