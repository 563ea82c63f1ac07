"""The PostgreSQL database of a part."""

from kpi_shared.database.asking import ReadOnlyDatabaseError
from kpi_shared.database.dependencies import DatabaseOfApp, DirectWriter, Reader, Writer
from kpi_shared.database.driver import ServiceConnection as DirectConnection
from kpi_shared.database.driver import get_direct
from kpi_shared.database.failures import StillReferencedError, install_database_handlers
from kpi_shared.database.names import MAX_ID, NAMING_CONVENTION, AnyRow, named_metadata
from kpi_shared.database.pools import Bounds, Database, register_pool_metrics

__all__ = [
    "MAX_ID",
    "NAMING_CONVENTION",
    "AnyRow",
    "Bounds",
    "Database",
    "DatabaseOfApp",
    "DirectConnection",
    "DirectWriter",
    "ReadOnlyDatabaseError",
    "Reader",
    "StillReferencedError",
    "Writer",
    "get_direct",
    "install_database_handlers",
    "named_metadata",
    "register_pool_metrics",
]
