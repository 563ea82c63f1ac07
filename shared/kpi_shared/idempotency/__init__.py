"""Safe retries: requests that create, done once for each Idempotency-Key (docs/adr/0050-idempotency.md)."""

from kpi_shared.idempotency.documents import IDEMPOTENCY_KEY
from kpi_shared.idempotency.errors import RETRY_ERRORS
from kpi_shared.idempotency.keys import owner_of
from kpi_shared.idempotency.models import IdempotencyKeyColumns
from kpi_shared.idempotency.once import NOT_PROCESSED, Once, OnceOnly, StreamedOnce, install_retry_handler

__all__ = [
    "IDEMPOTENCY_KEY",
    "NOT_PROCESSED",
    "RETRY_ERRORS",
    "IdempotencyKeyColumns",
    "Once",
    "OnceOnly",
    "StreamedOnce",
    "install_retry_handler",
    "owner_of",
]
