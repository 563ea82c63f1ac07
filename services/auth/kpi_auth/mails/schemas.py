"""The query and the responses of the endpoints for mails."""

from datetime import datetime
from typing import Annotated

from kpi_shared.database import MAX_ID
from kpi_shared.integers import Decimal
from pydantic import BaseModel
from sqlmodel import Field, SQLModel

from kpi_auth.mails.models import MailState


class MailQuery(BaseModel):
    model_config = {"extra": "forbid"}

    state: MailState | None = None
    limit: Annotated[Decimal, Field(ge=1, le=100)] = 10
    # The ``next`` of the previous page.
    cursor: Annotated[Decimal, Field(ge=1, le=MAX_ID)] | None = None


class MailShown(SQLModel):
    """A mail without its content, which may contain a link that gives access to an account."""

    id: int
    recipient: str
    template: str
    state: MailState
    attempts: int
    last_error: str | None
    created_at: datetime
    due_at: datetime
    expires_at: datetime | None
    settled_at: datetime | None


class MailPage(SQLModel):
    items: list[MailShown]
    next: str | None
