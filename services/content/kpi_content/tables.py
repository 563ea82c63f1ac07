"""The base class of this service's tables, with a registry that holds no other service's tables."""

from kpi_shared.database import named_metadata
from sqlalchemy.orm import registry
from sqlmodel import SQLModel


class Table(SQLModel, registry=registry(metadata=named_metadata())):
    """The base class of every table in the content database."""
