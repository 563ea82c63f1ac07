"""Which records a list holds, as its cursors and its statement know it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kpi_shared.pages import PositionFormat

_BY_ID = PositionFormat(int)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """``values`` are what the columns are compared with, by the names of the query's parameters."""

    values: Mapping[str, Any]

    @property
    def position_format(self) -> PositionFormat:
        return _BY_ID

    @property
    def cursor_scope(self) -> str:
        return f"audit\n{sorted(self.values.items())!r}"
