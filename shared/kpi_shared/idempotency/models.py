"""The columns of a service's table of keys."""

from datetime import datetime

from sqlalchemy import DateTime, LargeBinary, Text, func
from sqlmodel import Field, SQLModel


class IdempotencyKeyColumns(SQLModel):
    """A row says that what a request wanted is done: it was committed together with that."""

    key_hash: bytes = Field(sa_type=LargeBinary, primary_key=True)
    sealed_response: str = Field(sa_type=Text)
    created_at: datetime = Field(
        sa_type=DateTime(timezone=True), index=True, sa_column_kwargs={"server_default": func.now()}
    )
