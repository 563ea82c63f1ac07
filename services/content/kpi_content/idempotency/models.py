"""The table of idempotency keys. All code on it is in ``kpi_shared.idempotency``."""

from kpi_shared.idempotency import IdempotencyKeyColumns

from kpi_content.tables import Table


class IdempotencyKey(IdempotencyKeyColumns, Table, table=True):
    __tablename__ = "idempotency_keys"
