"""The lists of webhooks and of their deliveries, for statements and cursors."""

from dataclasses import dataclass

from kpi_shared.paging import PositionFormat

from kpi_auth.webhooks.fields import DeliveryState

_BY_NUMBER = PositionFormat(int)
CURSOR_PATTERN = _BY_NUMBER.cursor_pattern


@dataclass(frozen=True, slots=True)
class WebhookList:
    @property
    def position_format(self) -> PositionFormat:
        return _BY_NUMBER

    @property
    def cursor_scope(self) -> str:
        return "webhooks"


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """The deliveries of a webhook, in one state or in any."""

    webhook_id: int
    state: DeliveryState | None

    @property
    def position_format(self) -> PositionFormat:
        return _BY_NUMBER

    @property
    def cursor_scope(self) -> str:
        return f"webhook-deliveries\n{self.webhook_id}\n{self.state}"
