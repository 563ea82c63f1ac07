"""The events of the platform (docs/events.md) as typed events of the kit's bus."""

import structlog
from kpi_kit.events import Event
from pydantic import BaseModel, ValidationError

from kpi_shared.feed.schemas import ApiKeyChanged, FeedEvent, KeyKilled, Seq

log = structlog.get_logger(__name__)


class PlatformEvent(Event):
    """``seq`` is its place in the order of all events. It may come again: keep the highest that you have seen."""

    seq: Seq
    account_id: int | None


class Account(BaseModel):
    """The state after the change. Of two, the one with the higher ``version`` is the newer one."""

    id: int
    username: str | None
    role: str
    is_active: bool
    is_deleted: bool
    version: int


class AccountEvent(PlatformEvent):
    data: Account


class AccountCreated(AccountEvent):
    event_name = "account.created"


class AccountChanged(AccountEvent):
    event_name = "account.changed"


class AccountRenamed(AccountEvent):
    event_name = "account.renamed"


class AccountRoleChanged(AccountEvent):
    event_name = "account.role_changed"


class AccountDeactivated(AccountEvent):
    event_name = "account.deactivated"


class AccountActivated(AccountEvent):
    event_name = "account.activated"


class AccountDeleted(AccountEvent):
    event_name = "account.deleted"


class AccountRestored(AccountEvent):
    event_name = "account.restored"


class EndedSession(BaseModel):
    session_id: int
    reason: str


class SessionEnded(PlatformEvent):
    event_name = "session.ended"
    data: EndedSession


class EndedSessions(BaseModel):
    session_ids: list[int]
    reason: str


class SessionsEnded(PlatformEvent):
    event_name = "sessions.ended"
    data: EndedSessions


class EndedApiKey(ApiKeyChanged):
    reason: str


class ApiKeyEnded(PlatformEvent):
    event_name = "api_key.ended"
    data: EndedApiKey


class ApiKeyActivated(PlatformEvent):
    event_name = "api_key.activated"
    data: ApiKeyChanged


class TokenKeyKilled(PlatformEvent):
    event_name = "key.killed"
    data: KeyKilled


# For `EventBus.from_url(..., events=[*PLATFORM_EVENTS, ...])`.
PLATFORM_EVENTS: tuple[type[PlatformEvent], ...] = (
    *(AccountCreated, AccountChanged, AccountRenamed, AccountRoleChanged, AccountDeactivated, AccountActivated),
    *(AccountDeleted, AccountRestored, SessionEnded, SessionsEnded, ApiKeyEnded, ApiKeyActivated, TokenKeyKilled),
)
_BY_NAME = {event.event_name: event for event in PLATFORM_EVENTS}


def read_platform_event(event: FeedEvent) -> PlatformEvent | None:
    """None for a type that this version does not know, as readers must ignore, and for one that cannot be read."""
    known = _BY_NAME.get(event.type)
    if known is None:
        return None
    try:
        return known.model_validate(event.model_dump(include={"seq", "account_id", "data"}))
    except ValidationError:
        log.warning("event of the platform unreadable", type=event.type, seq=event.seq)
        return None
