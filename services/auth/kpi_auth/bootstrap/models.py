"""The one-time code for the first admin: one row at most, for all replicas."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, DateTime, LargeBinary, SmallInteger, func, text
from sqlmodel import Field

from kpi_auth.tables import Table


class BootstrapCode(Table, table=True):
    __tablename__ = "bootstrap_codes"
    __table_args__ = (
        CheckConstraint("id = 1", name="only_one"),
        CheckConstraint("length(code_hash) = 32", name="hash_length"),
    )

    id: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False, server_default=text("1")))
    code_hash: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    # When a request began to make the admin: it hashes a password meanwhile, outside its transaction.
    claimed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
