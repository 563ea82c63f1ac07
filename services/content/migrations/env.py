"""Runs Alembic on the content database."""

from kpi_content.settings import PART
from kpi_content.tables import Table
from kpi_shared.migrations import run_env

run_env(part=PART, metadata=Table.metadata)
