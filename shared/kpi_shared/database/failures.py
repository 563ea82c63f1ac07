"""Errors of the database as responses: 503 where a retry may succeed."""

import psycopg
import structlog
from fastapi import FastAPI, Request, Response
from psycopg.errors import (
    DeadlockDetected,
    FeatureNotSupported,
    LockNotAvailable,
    QueryCanceled,
    ReadOnlySqlTransaction,
    SerializationFailure,
)
from sqlalchemy.exc import DBAPIError

from kpi_shared.errors import UnavailableError, problem_response

log = structlog.get_logger(__name__)

_TOOK_TOO_LONG = (QueryCanceled, LockNotAvailable, DeadlockDetected, SerializationFailure)
# FeatureNotSupported: a prepared statement that is out of date (see driver.py). Its connection is dropped.
_UNAVAILABLE = (psycopg.OperationalError, psycopg.InterfaceError, ReadOnlySqlTransaction, FeatureNotSupported)


def install_database_handlers(app: FastAPI) -> None:
    """Respond with 503 and Retry-After if the database is unavailable."""
    for kind in (DBAPIError, psycopg.Error):
        app.add_exception_handler(kind, _render_unavailable)


async def _render_unavailable(request: Request, error: Exception) -> Response:
    reason = getattr(error, "orig", error)
    if isinstance(reason, _TOOK_TOO_LONG):
        log.warning("statement cancelled", reason=type(reason).__name__)
        return problem_response(UnavailableError("The database took too long; a retry may succeed"), request)
    if not isinstance(reason, _UNAVAILABLE):
        # An error of our own, for which a retry is of no use.
        raise error
    log.error("database unavailable", error=type(error).__name__, reason=str(reason))
    return problem_response(UnavailableError("The database is temporarily unavailable"), request)
