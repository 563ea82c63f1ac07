"""The dependencies of the endpoints of webhooks. Whole requests are checked before a connection is taken."""

from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Path, Query
from kpi_kit.destinations import DestinationError, Destinations
from kpi_shared.caller import Subject
from kpi_shared.database import MAX_ID
from kpi_shared.idempotency import Once
from kpi_shared.integers import Decimal
from kpi_shared.paging import Cursors, decode_cursor
from kpi_shared.security import AdminAccess

from kpi_auth.webhooks.destinations import DestinationsOfApp, describe
from kpi_auth.webhooks.errors import RefusedUrlError
from kpi_auth.webhooks.filters import DeliveryFilter, WebhookList
from kpi_auth.webhooks.schemas import DeliveryQuery, WebhookCreate, WebhookQuery, WebhookUpdate

WebhookId = Annotated[Decimal, Path(ge=1, le=MAX_ID)]
# Less than a request may take, so that the response can name the reason.
_RESOLVE_SECONDS = 1.0


class CheckedColumns(NamedTuple):
    """What an admin wants to store; events may be sent to its URL."""

    caller: Subject
    columns: dict[str, Any]


async def _checked_create(
    wanted: WebhookCreate, caller: AdminAccess, destinations: DestinationsOfApp, once: Once
) -> CheckedColumns:
    # Of a webhook that exists, the URL need not resolve any more.
    await once.look_up(caller)
    await _check_url(destinations, wanted.url)
    return CheckedColumns(caller, wanted.columns)


async def _checked_update(
    wanted: WebhookUpdate, caller: AdminAccess, destinations: DestinationsOfApp
) -> CheckedColumns:
    if "url" in wanted.model_fields_set:
        await _check_url(destinations, wanted.url)
    return CheckedColumns(caller, wanted.columns)


async def _check_url(destinations: Destinations, url: str) -> None:
    try:
        await destinations.find(url, seconds=_RESOLVE_SECONDS)
    except DestinationError as error:
        raise RefusedUrlError(describe(error)) from error


class WebhookListRequest(NamedTuple):
    before: int | None
    limit: int


async def _webhook_list(
    query: Annotated[WebhookQuery, Query()], _caller: AdminAccess, cursors: Cursors
) -> WebhookListRequest:
    [before] = decode_cursor(query.cursor, of=WebhookList(), sealer=cursors) if query.cursor else [None]
    return WebhookListRequest(before, query.limit)


class DeliveryListRequest(NamedTuple):
    delivery_filter: DeliveryFilter
    before: int | None
    limit: int


async def _delivery_list(
    webhook_id: WebhookId, query: Annotated[DeliveryQuery, Query()], _caller: AdminAccess, cursors: Cursors
) -> DeliveryListRequest:
    chosen = DeliveryFilter(webhook_id, query.state)
    [before] = decode_cursor(query.cursor, of=chosen, sealer=cursors) if query.cursor else [None]
    return DeliveryListRequest(chosen, before, query.limit)


CheckedCreate = Annotated[CheckedColumns, Depends(_checked_create)]
CheckedUpdate = Annotated[CheckedColumns, Depends(_checked_update)]
SentWebhookList = Annotated[WebhookListRequest, Depends(_webhook_list)]
SentDeliveryList = Annotated[DeliveryListRequest, Depends(_delivery_list)]
