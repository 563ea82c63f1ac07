"""What events say, by type. A change of a payload needs a new ``schema_version``: see docs/events.md."""

from typing import Annotated, NamedTuple

from kpi_shared.caller import Role
from pydantic import BaseModel, ConfigDict, Field

from kpi_auth.events.models import EventType

_Number = Annotated[int, Field(ge=1)]


class _Payload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AccountState(_Payload):
    """The whole state of an account after the change, so that a reader needs no earlier event."""

    id: _Number
    username: str
    role: Role
    is_active: bool
    is_deleted: bool
    version: _Number


class SessionEnded(_Payload):
    session_id: _Number
    reason: str


class SessionsEnded(_Payload):
    session_ids: Annotated[list[_Number], Field(min_length=1)]
    reason: str


class ApiKeyEnded(_Payload):
    api_key_id: _Number
    reason: str


class ApiKeyActivated(_Payload):
    api_key_id: _Number


class KeyKilled(_Payload):
    kid: str


class Schema(NamedTuple):
    """The model of a payload and its version."""

    model: type[_Payload]
    version: int


SCHEMAS = {
    EventType.ACCOUNT_CREATED: Schema(AccountState, 1),
    EventType.ACCOUNT_CHANGED: Schema(AccountState, 1),
    EventType.ACCOUNT_RENAMED: Schema(AccountState, 1),
    EventType.ACCOUNT_ROLE_CHANGED: Schema(AccountState, 1),
    EventType.ACCOUNT_ACTIVATED: Schema(AccountState, 1),
    EventType.ACCOUNT_DEACTIVATED: Schema(AccountState, 1),
    EventType.ACCOUNT_DELETED: Schema(AccountState, 1),
    EventType.ACCOUNT_RESTORED: Schema(AccountState, 1),
    EventType.SESSION_ENDED: Schema(SessionEnded, 1),
    EventType.SESSIONS_ENDED: Schema(SessionsEnded, 1),
    EventType.API_KEY_ENDED: Schema(ApiKeyEnded, 1),
    EventType.API_KEY_ACTIVATED: Schema(ApiKeyActivated, 1),
    EventType.KEY_KILLED: Schema(KeyKilled, 1),
}
Payload = AccountState | SessionEnded | SessionsEnded | ApiKeyEnded | ApiKeyActivated | KeyKilled
