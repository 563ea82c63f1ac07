"""Links between accounts and external identities."""

from datetime import datetime

from kpi_shared.records.models import row_id
from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, ForeignKey, Index, Text, func
from sqlmodel import Field

from kpi_auth.tables import Table


class ExternalIdentityLink(Table, table=True):
    """A link from (issuer, subject) to an account. An e-mail address alone is never a link."""

    __tablename__ = "outside_identities"
    __table_args__ = (
        CheckConstraint("length(issuer) <= 500 AND length(subject) <= 255", name="names_length"),
        Index("uq_outside_identities_issuer_subject", "issuer", "subject", unique=True),
        Index("ix_outside_identities_user_id", "user_id"),
    )

    id: int | None = row_id()
    user_id: int = Field(sa_column=Column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False))
    issuer: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    used_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
