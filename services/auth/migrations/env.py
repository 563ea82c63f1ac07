"""Alembic's way into the auth database."""

from kpi_auth.settings import PART
from kpi_auth.tables import Table
from kpi_auth.users import models as _users  # noqa: F401 its import defines the table
from kpi_shared.migrations import run_env

run_env(part=PART, metadata=Table.metadata)
