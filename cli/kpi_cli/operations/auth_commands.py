"""The auth service's own commands, each with one JSON object on standard input and one on standard output."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from kpi_cli.auth_process import AUTH, run
from kpi_cli.layout import Layout
from kpi_cli.stack import environments, local_database

__all__ = ["environment", "run"]


@contextmanager
def environment(layout: Layout) -> Iterator[dict[str, str]]:
    """The settings for the database that DATABASE_URL names, or else for the local stack's, running or stopped."""
    if environments.names_database():
        yield dict(os.environ)
        return
    with local_database.use(layout) as ports:
        local_database.migrate_where_needed(layout, ports)
        yield environments.environment(layout, AUTH, ports)
