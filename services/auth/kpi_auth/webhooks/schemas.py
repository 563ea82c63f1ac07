"""The request and response schemas of webhooks."""

from datetime import datetime
from typing import Annotated, Any, Self

from kpi_kit.destinations import MAX_URL
from kpi_shared.database import MAX_ID, AnyRow
from kpi_shared.integers import Decimal, Integer
from kpi_shared.times import Moment
from pydantic import StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from sqlmodel import Field, SQLModel

from kpi_auth.accounts.examples import with_examples
from kpi_auth.webhooks.fields import DeliveryState, Description, EventTypes, WebhookState
from kpi_auth.webhooks.filters import CURSOR_PATTERN

MAX_GRACE = 7 * 24 * 3600
_DAY = 24 * 3600
_URL = {"format": "uri"}
_EXAMPLE = {"url": "https://hooks.example.com/kpi-one", "event_types": ["account.*", "session.ended"]}

_CursorText = Annotated[str, StringConstraints(pattern=CURSOR_PATTERN)]
Url = Annotated[str, Field(min_length=8, max_length=MAX_URL, schema_extra={"json_schema_extra": _URL})]


class WebhookPublic(SQLModel):
    """A webhook without its secret. ``queued_seq`` is the newest event that is sent or waits to be sent."""

    id: int
    url: str
    description: str | None
    event_types: list[str]
    state: WebhookState
    disabled_reason: str | None
    disabled_at: datetime | None
    is_active: bool
    queued_seq: int
    pending: int
    dead: int
    delivered_at: datetime | None
    previous_secret_until: datetime | None
    created_by: int | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: AnyRow) -> Self:
        return cls(**{name: getattr(row, name) for name in WebhookPublic.model_fields})


class WebhookCreated(WebhookPublic):
    """A webhook with its new secret, which is shown this once."""

    secret: str

    @classmethod
    def with_secret(cls, row: AnyRow, secret: str) -> Self:
        return cls(**dict(WebhookPublic.of(row)), secret=secret)


class WebhookPage(SQLModel):
    items: list[WebhookPublic]
    next: str | None


class WebhookQuery(SQLModel):
    """Which webhooks to list, newest first."""

    model_config = {"extra": "forbid"}

    limit: Annotated[Decimal, Field(ge=1, le=100, description="Maximum number of webhooks on a page")] = 10
    cursor: Annotated[_CursorText | None, Field(description="The value of next on the previous page")] = None


class WebhookCreate(SQLModel):
    """A new webhook: it gets the events from now on."""

    model_config = {"extra": "forbid", "json_schema_extra": with_examples(_EXAMPLE)}

    url: Url
    event_types: EventTypes = Field(default_factory=list)
    description: Description | None = None
    is_active: bool = True

    @property
    def columns(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in WebhookCreate.model_fields}


class WebhookUpdate(SQLModel):
    """The fields to change. ``is_active`` pauses a webhook, or starts a paused or disabled one where it stopped."""

    model_config = {
        "extra": "forbid",
        "json_schema_extra": {"minProperties": 1, **with_examples({"event_types": ["account.*"]})},
    }

    # The defaults only make the fields optional: ``columns`` has no field that was not sent.
    url: Url = Field(default_factory=str)
    event_types: EventTypes = Field(default_factory=list)
    description: Description | None = None
    is_active: bool = Field(default_factory=bool)

    @model_validator(mode="after")
    def _require_a_change(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("empty", "At least one field is required")
        return self

    @property
    def columns(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


class SecretRotation(SQLModel):
    """For how many seconds the old secret signs too."""

    model_config = {"extra": "forbid", "json_schema_extra": with_examples({"grace_seconds": 3600})}

    grace_seconds: Annotated[Integer, Field(ge=0, le=MAX_GRACE)] = _DAY


class Replay(SQLModel):
    """Where to begin: with the first event since a time, or with the one after a ``seq``."""

    model_config = {
        "extra": "forbid",
        "json_schema_extra": {
            "minProperties": 1,
            "maxProperties": 1,
            **with_examples({"since": "2026-11-27T08:00:00Z"}, {"after_seq": 0}),
        },
    }

    # The defaults only make the fields optional.
    since: Moment = Field(default_factory=datetime.now)
    after_seq: Annotated[Integer, Field(ge=0, le=MAX_ID)] = Field(default_factory=int)

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError("one_place", "Either since or after_seq is required")
        return self

    @property
    def place(self) -> datetime | int:
        return self.since if "since" in self.model_fields_set else self.after_seq


class ReplayStarted(SQLModel):
    """The events after ``after_seq`` are sent again, of which ``last_seq`` is the newest now."""

    after_seq: int
    last_seq: int
    state: WebhookState


class DeliveryPublic(SQLModel):
    """An event that the webhook has not received.

    ``due_at`` is null while it waits for an earlier event of the account.
    """

    seq: int
    message_id: str
    event_type: str
    account_id: int | None
    state: DeliveryState
    attempts: int
    last_error: str | None
    created_at: datetime
    due_at: datetime | None
    give_up_at: datetime
    settled_at: datetime | None


class DeliveryPage(SQLModel):
    items: list[DeliveryPublic]
    next: str | None


class DeliveryQuery(SQLModel):
    """Which deliveries to list, newest first."""

    model_config = {"extra": "forbid"}

    limit: Annotated[Decimal, Field(ge=1, le=100, description="Maximum number of deliveries on a page")] = 10
    cursor: Annotated[_CursorText | None, Field(description="The value of next on the previous page")] = None
    state: Annotated[DeliveryState | None, Field(description="Only deliveries in this state")] = None
