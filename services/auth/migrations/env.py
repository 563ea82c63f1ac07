"""Runs Alembic on the auth database."""

from kpi_auth.settings import PART
from kpi_auth.tables import Table
from kpi_shared.migrations import run_env

run_env(part=PART, metadata=Table.metadata)
