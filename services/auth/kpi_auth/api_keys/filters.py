"""The filter of a list of API keys, for its statement and its cursors."""

from dataclasses import dataclass

from kpi_shared.paging import PositionFormat

from kpi_auth.api_keys.fields import KeyState

_BY_ID = PositionFormat(int)
CURSOR_PATTERN = _BY_ID.cursor_pattern


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """The keys of one owner, or of all users, in one state, or in any."""

    owner_id: int | None
    state: KeyState | None

    @property
    def position_format(self) -> PositionFormat:
        return _BY_ID

    @property
    def cursor_scope(self) -> str:
        return f"api-keys\n{self.owner_id}\n{self.state}"
