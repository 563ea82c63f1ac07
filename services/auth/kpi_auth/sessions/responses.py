"""Sessions as responses show them."""

from collections.abc import Iterable

from kpi_shared.database import AnyRow

from kpi_auth.sessions.schemas import SessionList, SessionShown


def session_list(rows: Iterable[AnyRow]) -> SessionList:
    return SessionList(items=[SessionShown.model_validate(row, from_attributes=True) for row in rows], next=None)
