"""A noun with plain rows, as the nouns of services are."""

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from kpi_shared.cursors import CursorSealer
from kpi_shared.database import named_metadata
from kpi_shared.parts import Part
from kpi_shared.records.errors import RowNotFoundError, ValueTakenError
from kpi_shared.records.filters import Filters, ListRequest
from kpi_shared.records.models import deletion_time, row_id, words_of, write_time
from kpi_shared.records.repository import Records
from kpi_shared.records.schemas import ListQuery
from kpi_shared.settings import DatabaseSettings
from kpi_shared.tokens import KeyRing
from pydantic import BaseModel
from sqlalchemy import Date, DateTime, Double, Index, Integer, Numeric, Text, Time, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field as ColumnField
from sqlmodel import SQLModel

SEALER = CursorSealer(KeyRing.local(bytes(range(1, 33))))


class Settings(DatabaseSettings):
    part: ClassVar[Part] = Part("sample", "package_that_is_not_there", 1)


class Table(SQLModel, registry=registry(metadata=named_metadata())):
    """The base class of the tables here."""


class Shelf(Table, table=True):
    __tablename__ = "shelves"

    id: int | None = row_id()
    created_at: datetime = write_time()
    updated_at: datetime = write_time()


class Case(Table, table=True):
    __tablename__ = "cases"

    id: int | None = row_id()
    created_at: datetime = write_time()
    updated_at: datetime = write_time()
    deleted_at: datetime | None = deletion_time()


class Tool(Table, table=True):
    __tablename__ = "tools"
    __table_args__ = (
        Index("uq_tools_code", "code", unique=True, postgresql_where=text("deleted_at IS NULL")),
        Index("ix_tools_search", "search", postgresql_using="gin"),
    )

    id: int | None = row_id()
    name: str = ColumnField(sa_type=Text)
    code: str | None = ColumnField(default=None, sa_type=Text)
    stock: int = ColumnField(sa_type=Integer, sa_column_kwargs={"server_default": "0"})
    price: Decimal | None = ColumnField(default=None, sa_type=Numeric(12, 2))
    weight: float | None = ColumnField(default=None, sa_type=Double)
    bought_on: date | None = ColumnField(default=None, sa_type=Date)
    opens_at: time | None = ColumnField(default=None, sa_type=Time)
    used_at: datetime | None = ColumnField(default=None, sa_type=DateTime(timezone=True))
    key: UUID | None = ColumnField(default=None, sa_type=Uuid)
    more: Any = ColumnField(default=None, sa_type=JSONB(none_as_null=True), nullable=True)
    shelf_id: int | None = ColumnField(default=None, foreign_key="shelves.id")
    case_id: int | None = ColumnField(default=None, foreign_key="cases.id")
    created_at: datetime = write_time()
    updated_at: datetime = write_time()
    deleted_at: datetime | None = deletion_time()
    search: str = words_of("name", "code")


class ShelfPublic(BaseModel):
    id: int
    created_at: datetime
    updated_at: datetime


class CasePublic(ShelfPublic):
    deleted_at: datetime | None


class ToolPublic(BaseModel):
    id: int
    name: str
    code: str | None
    stock: int
    price: Decimal | None
    weight: float | None
    bought_on: date | None
    opens_at: time | None
    used_at: datetime | None
    key: UUID | None
    more: Any
    shelf_id: int | None
    case_id: int | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


class ToolNotFoundError(RowNotFoundError):
    type = "tool-not-found"
    title = "The tool does not exist"


class ToolCodeTakenError(ValueTakenError):
    type = "tool-code-taken"
    title = "Another tool has this code"


class ShelfNotFoundError(RowNotFoundError):
    type = "shelf-not-found"
    title = "The shelf does not exist"


class CaseNotFoundError(RowNotFoundError):
    type = "case-not-found"
    title = "The case does not exist"


cases = Records(Case, CasePublic, missing=CaseNotFoundError)
shelves = Records(Shelf, ShelfPublic, missing=ShelfNotFoundError)
tools = Records(Tool, ToolPublic, missing=ToolNotFoundError, taken={"code": ToolCodeTakenError})


def ask(
    *,
    limit: int = 10,
    skip: int = 0,
    cursor: str | None = None,
    total: bool = False,
    **filters: Any,
) -> ListRequest:
    """The request for a page of tools, as an endpoint parses it."""
    query = ListQuery(limit=limit, skip=skip, cursor=cursor, total=total)
    return tools.parse_list(query, Filters(**filters), SEALER)
