"""The ledger of imported posts."""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Text
from sqlmodel import Field

from kpi_content.tables import Table


class PostImport(Table, table=True):
    """Which post here an imported post became, so that another import skips it."""

    __tablename__ = "post_imports"
    __table_args__ = (CheckConstraint("length(source) >= 1 AND length(source) <= 64", name="source_length"),)

    source: str = Field(sa_column=Column(Text, primary_key=True))
    external_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    post_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("posts.id", ondelete="CASCADE"), nullable=False, unique=True)
    )
