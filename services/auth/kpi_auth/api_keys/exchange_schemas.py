"""What the gateway sends and gets on the internal port (docs/api-keys.md)."""

from datetime import datetime
from typing import Annotated

from kpi_shared.caller import Scope
from kpi_shared.database import MAX_ID
from kpi_shared.integers import Integer
from kpi_shared.times import Moment
from pydantic import BaseModel, IPvAnyAddress, SecretStr
from sqlmodel import Field, SQLModel

from kpi_auth.api_keys.fields import RateLimit
from kpi_auth.api_keys.schemas import KeyText

_MAX_BATCH = 1000
_MAX_KEYS = 64
_KeyId = Annotated[Integer, Field(ge=1, le=MAX_ID)]
_Count = Annotated[Integer, Field(ge=1, le=10**9)]


class KeyExchange(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    key: KeyText


class KeyExchanges(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    # Of any length: one that is no key must not fail the others.
    keys: Annotated[list[SecretStr], Field(min_length=1, max_length=_MAX_KEYS)]


class ExchangedKey(BaseModel):
    """A token for ``expires_in`` seconds, and what the gateway enforces for this key.

    An empty ``allowed_networks`` means everywhere. ``scopes`` are those of the token, with all that they include.
    """

    access_token: str
    expires_in: int
    key_id: int
    user_id: int
    scopes: list[Scope]
    allowed_networks: list[str]
    rate_limit: RateLimit | None
    key_expires_at: datetime | None


class ExchangedKeys(BaseModel):
    """In the order of the keys; null for one that cannot be used."""

    exchanged: list[ExchangedKey | None]


class Use(SQLModel):
    """Requests with a key since the last report, and the last one's time and client address."""

    model_config = {"extra": "forbid"}

    key_id: _KeyId
    count: _Count
    last_used_at: Moment
    address: IPvAnyAddress | None = None


class Refusal(SQLModel):
    """Requests that were refused since the last report because their address is in none of the key's networks."""

    model_config = {"extra": "forbid"}

    key_id: _KeyId
    address: IPvAnyAddress
    count: _Count


class UseReport(SQLModel):
    model_config = {"extra": "forbid"}

    uses: Annotated[list[Use], Field(max_length=_MAX_BATCH)] = Field(default_factory=list)
    refusals: Annotated[list[Refusal], Field(max_length=_MAX_BATCH)] = Field(default_factory=list)
