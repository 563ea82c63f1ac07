"""The SQL of the audit table."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit.models import AuditEvent

_add = insert(AuditEvent)


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    await connection.execute(_add, values)
