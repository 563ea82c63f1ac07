"""The base of this service's tables; a registry of its own keeps other services' tables out of it."""

from kpi_shared.database import named_metadata
from sqlalchemy.orm import registry
from sqlmodel import SQLModel


class Table(SQLModel, registry=registry(metadata=named_metadata())):
    """Every table of the content database inherits from this."""
