"""The filter of a list of records, for its statement and its cursors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kpi_shared.paging import PositionFormat

_BY_ID = PositionFormat(int)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """``values`` are compared with the columns; their keys are the names of the query's parameters."""

    values: Mapping[str, Any]

    @property
    def position_format(self) -> PositionFormat:
        return _BY_ID

    @property
    def cursor_scope(self) -> str:
        return f"audit\n{sorted(self.values.items())!r}"
