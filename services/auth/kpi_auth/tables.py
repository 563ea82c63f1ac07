"""The base class of this service's tables, with a registry that other services' tables do not share."""

from kpi_shared.database import named_metadata
from sqlalchemy.orm import registry
from sqlmodel import SQLModel


class Table(SQLModel, registry=registry(metadata=named_metadata())):
    """Every table of the auth database inherits from this."""
