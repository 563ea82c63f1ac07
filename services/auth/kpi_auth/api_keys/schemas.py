"""The request and response schemas of API keys."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from kpi_shared.caller import Scope
from kpi_shared.database import MAX_ID, AnyRow
from kpi_shared.integers import Decimal, Integer
from kpi_shared.times import Moment
from pydantic import AfterValidator, BaseModel, SecretStr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from sqlmodel import Field, SQLModel

from kpi_auth.accounts.examples import with_examples
from kpi_auth.api_keys.fields import AllowedNetworks, Description, KeyState, Name, RateLimit, Scopes
from kpi_auth.api_keys.filters import CURSOR_PATTERN
from kpi_auth.tokens.api_key_texts import MAX_LENGTH

MAX_GRACE = 7 * 24 * 3600
_LONGEST = timedelta(days=36_525)
_CursorText = Annotated[str, StringConstraints(pattern=CURSOR_PATTERN)]
_EXAMPLE = {
    "name": "Nightly import",
    "scopes": ["read", "write"],
    "allowed_networks": ["192.0.2.0/24"],
    "rate_limit": {"requests": 100, "window": 60},
}


def _check_future(value: datetime) -> datetime:
    now = datetime.now(UTC)
    if value <= now:
        raise PydanticCustomError("past", "The time must be in the future")
    if value > now + _LONGEST:
        raise PydanticCustomError("too_far", "The time must be within 100 years; leave it out for a key without an end")
    return value


Expiry = Annotated[Moment, AfterValidator(_check_future)]


class ApiKeyPublic(BaseModel):
    """An API key without its text. ``prefix`` are its first characters, by which people recognise it."""

    id: int
    owner_id: int
    name: str
    description: str | None
    prefix: str
    scopes: list[Scope]
    state: KeyState
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    allowed_networks: list[str]
    rate_limit: RateLimit | None
    replaced_by: int | None
    last_used_at: datetime | None
    last_used_address: str | None
    uses: int

    @classmethod
    def of(cls, row: AnyRow) -> Self:
        return cls(**_members(row))


class ApiKeyCreated(ApiKeyPublic):
    """A new key with its text, which is shown this once and stored nowhere."""

    key: str

    @classmethod
    def with_key(cls, row: AnyRow, key: str) -> Self:
        return cls(**_members(row), key=key)


class ApiKeyRotated(ApiKeyCreated):
    """The successor of a key, and until when its predecessor works."""

    replaces: int
    replaced_expires_at: datetime


def _members(row: AnyRow) -> dict[str, Any]:
    members = dict(row._mapping)  # noqa: SLF001 SQLAlchemy's public name for it
    limit = row.rate_limit_requests and RateLimit(requests=row.rate_limit_requests, window=row.rate_limit_window)
    return {**members, "owner_id": row.user_id, "rate_limit": limit or None}


class ApiKeyPage(BaseModel):
    """A page of keys, newest first, and the cursor of the next page, or null on the last page."""

    items: list[ApiKeyPublic]
    next: str | None


class ApiKeyQuery(SQLModel):
    """Which keys to list, newest first."""

    model_config = {"extra": "forbid"}

    limit: Annotated[Decimal, Field(ge=1, le=100, description="Maximum number of keys on a page")] = 10
    cursor: Annotated[_CursorText | None, Field(description="The value of next on the previous page")] = None
    owner_id: Annotated[
        Annotated[Decimal, Field(ge=1, le=MAX_ID)] | None,
        Field(description="Only the keys of this user; for admins, who otherwise see those of all users"),
    ] = None
    state: Annotated[KeyState | None, Field(description="Only keys in this state")] = None


class ApiKeyCreate(SQLModel):
    """A new key. Without ``expires_at`` it has no end; with an empty list of networks it works everywhere."""

    model_config = {"extra": "forbid", "json_schema_extra": with_examples(_EXAMPLE)}

    name: Name
    description: Description | None = None
    scopes: Scopes
    expires_at: Expiry | None = None
    allowed_networks: AllowedNetworks = Field(default_factory=list)
    rate_limit: RateLimit | None = None

    @property
    def columns(self) -> dict[str, Any]:
        return _columns(self, set(ApiKeyCreate.model_fields))


class ApiKeyUpdate(SQLModel):
    """The fields to change. Fields that are left out stay unchanged; null removes a description, an end or a limit."""

    model_config = {
        "extra": "forbid",
        "json_schema_extra": {"minProperties": 1, **with_examples({"name": "Hourly import"})},
    }

    # The defaults only make the fields optional: ``columns`` has no field that was not sent.
    name: Name = Field(default_factory=str)
    description: Description | None = None
    scopes: Scopes = Field(default_factory=list)
    expires_at: Expiry | None = None
    allowed_networks: AllowedNetworks = Field(default_factory=list)
    rate_limit: RateLimit | None = None

    @model_validator(mode="after")
    def _require_a_change(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("empty", "At least one field is required")
        return self

    @property
    def columns(self) -> dict[str, Any]:
        return _columns(self, self.model_fields_set)


def _columns(sent: ApiKeyCreate | ApiKeyUpdate, names: set[str]) -> dict[str, Any]:
    values = {name: getattr(sent, name) for name in names}
    if "scopes" in values:
        values["scopes"] = [scope.value for scope in values["scopes"]]
    if "rate_limit" in values:
        limit: RateLimit | None = values.pop("rate_limit")
        values["rate_limit_requests"] = limit.requests if limit else None
        values["rate_limit_window"] = limit.window if limit else None
    return values


class Rotation(SQLModel):
    """For how many seconds both keys work, and when the new one expires: by default when the old one would have."""

    model_config = {"extra": "forbid", "json_schema_extra": with_examples({"grace_seconds": 3600})}

    grace_seconds: Annotated[Integer, Field(ge=0, le=MAX_GRACE)] = 0
    expires_at: Expiry | None = None


KeyText = Annotated[SecretStr, Field(min_length=1, max_length=2 * MAX_LENGTH)]


class KeyRevocation(SQLModel):
    """The key to end, where it is not the one that the request is made with."""

    model_config = {
        "extra": "forbid",
        "hide_input_in_errors": True,
        "json_schema_extra": with_examples({"key": "kpi_live_42_the-rest-of-the-leaked-key"}),
    }

    key: KeyText
