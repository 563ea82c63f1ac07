"""The filter of a list of records, for its statement and its cursors."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kpi_shared.paging import PositionFormat

_BY_ID = PositionFormat(int)
_BY_TIME = PositionFormat(datetime, int)
_TIMES = frozenset({"since", "until"})


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """``values`` are compared with the columns; their keys are the names of the query's parameters.

    Records are sorted by id, or by time and id if the time is limited: then the first page is at its place in an index.
    """

    values: Mapping[str, Any]

    @property
    def is_by_time(self) -> bool:
        return not _TIMES.isdisjoint(self.values)

    @property
    def position_names(self) -> tuple[str, ...]:
        """The columns that a list is sorted by."""
        return ("at", "id") if self.is_by_time else ("id",)

    @property
    def position_format(self) -> PositionFormat:
        return _BY_TIME if self.is_by_time else _BY_ID

    @property
    def cursor_scope(self) -> str:
        return f"audit\n{sorted(self.values.items())!r}"
