"""The table of the processes that hold keys of the tokens."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from kpi_auth.tables import Table


class TokenKeyHolder(Table, table=True):
    """The last report of a process; ``keys`` are the states of its keys by their ids."""

    __tablename__ = "token_key_holders"

    instance: str = Field(sa_type=Text, primary_key=True)
    part: str = Field(sa_type=Text)
    purpose: str = Field(sa_type=Text)
    keys: dict[str, Any] = Field(sa_type=JSONB)
    # How long its tokens live, of a process that mints them.
    token_seconds: int | None = Field(default=None)
    reported_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
