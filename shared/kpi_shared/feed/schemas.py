"""What auth's feed sends (docs/events.md). Unknown members and unknown types of events are ignored."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seq = Annotated[int, Field(ge=0)]


class FeedRevocation(BaseModel):
    """``seconds`` is the time after which no token that it hits is valid; None is for ever."""

    kind: str
    id: int | str
    version: int | None = None
    seconds: _Seconds | None


class Snapshot(BaseModel):
    """All revocations of the events up to ``seq`` that still matter, which may be many: they are read in portions."""

    seq: Seq
    revocations: list[Any]


class Heartbeat(BaseModel):
    """``behind`` is the age in seconds of the oldest event that the feed cannot send yet.

    ``at`` is the time in seconds at which it was sent, by a clock of the sender that is never set; None from an older
    auth.
    """

    heartbeat: Literal[True]
    seq: Seq
    behind: _Seconds
    at: Annotated[float, Field(allow_inf_nan=False)] | None = None


class FeedEvent(BaseModel):
    """``seconds`` as in a revocation; None for an event that revokes nothing, or for ever."""

    seq: Seq
    type: str
    account_id: int | None
    data: dict[str, Any]
    seconds: _Seconds | None = None

    @property
    def is_of_account(self) -> bool:
        """Whether the data are the state of an account."""
        return self.type.startswith("account.")


class AccountState(BaseModel):
    id: int
    username: str | None
    is_deleted: bool
    version: Annotated[int, Field(ge=1)]


class SessionEnded(BaseModel):
    session_id: int


class SessionsEnded(BaseModel):
    session_ids: list[int]


class ApiKeyChanged(BaseModel):
    api_key_id: int


class KeyKilled(BaseModel):
    kid: str


class EventPage(BaseModel):
    items: list[FeedEvent]
    last: Seq


class AccountPage(BaseModel):
    """``seq`` is the place in the feed whose state the items have, or a later one."""

    seq: Seq
    items: list[AccountState]
    next: int | None


revocations_adapter: TypeAdapter[list[FeedRevocation]] = TypeAdapter(list[FeedRevocation])
line_adapter: TypeAdapter[Heartbeat | FeedEvent] = TypeAdapter(Heartbeat | FeedEvent)
