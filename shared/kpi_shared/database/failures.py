"""Errors of the database as responses: 503 where a retry may succeed."""

import psycopg
import structlog
from fastapi import FastAPI, Request, Response
from psycopg.errors import (
    DeadlockDetected,
    FeatureNotSupported,
    ForeignKeyViolation,
    LockNotAvailable,
    QueryCanceled,
    ReadOnlySqlTransaction,
    SerializationFailure,
)
from sqlalchemy.exc import DBAPIError

from kpi_shared.errors import ProblemError, UnavailableError, problem_response

log = structlog.get_logger(__name__)

_TOOK_TOO_LONG = (QueryCanceled, LockNotAvailable, DeadlockDetected, SerializationFailure)
# FeatureNotSupported: a prepared statement that is out of date (see driver.py). Its connection is dropped.
_UNAVAILABLE = (psycopg.OperationalError, psycopg.InterfaceError, ReadOnlySqlTransaction, FeatureNotSupported)


class StillReferencedError(ProblemError):
    """A row cannot be deleted while rows of another table, whose foreign key does not cascade, name it."""

    status = 409
    type = "still-referenced"
    title = "Other data still refers to this resource: delete that data first"


def is_unavailable(error: Exception, *, is_certain: bool) -> bool:
    """Whether a retry may succeed. ``is_certain``: and the server has said itself that the statement has failed.

    After a connection that was lost, the statement may have had its effect, or may still have it.
    """
    if isinstance(error, UnavailableError):
        return True
    reason = getattr(error, "orig", error)
    if not isinstance(reason, (*_TOOK_TOO_LONG, *_UNAVAILABLE)):
        return False
    return not is_certain or reason.sqlstate is not None


def install_database_handlers(app: FastAPI) -> None:
    """Respond with 503 and Retry-After if the database is unavailable, and with 409 to a DELETE that it refuses."""
    for kind in (DBAPIError, psycopg.Error):
        app.add_exception_handler(kind, _render_failure)


async def _render_failure(request: Request, error: Exception) -> Response:
    reason = getattr(error, "orig", error)
    if isinstance(reason, _TOOK_TOO_LONG):
        log.warning("statement cancelled", reason=type(reason).__name__)
        return problem_response(UnavailableError("The database took too long; a retry may succeed"), request)
    if isinstance(reason, ForeignKeyViolation) and request.method == "DELETE":
        return problem_response(StillReferencedError(), request)
    if not isinstance(reason, _UNAVAILABLE):
        # An error of our own, for which a retry is of no use.
        raise error
    log.error("database unavailable", error=type(error).__name__, reason=str(reason))
    return problem_response(UnavailableError("The database is temporarily unavailable"), request)
