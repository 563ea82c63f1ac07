"""Webhooks, for admins: making, reading, changing and ending them, and sending events again."""

from datetime import timedelta

from fastapi import Depends, Response
from kpi_shared.cursors import InvalidCursorError
from kpi_shared.database import Reader, Writer
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems
from kpi_shared.idempotency import IDEMPOTENCY_KEY, RETRY_ERRORS, Once
from kpi_shared.paging import Cursors, cut_page, encode_cursor
from kpi_shared.security import AdminAccess

from kpi_auth.context import CurrentContext
from kpi_auth.responses import no_store
from kpi_auth.webhooks import delivery_repository, repository, service
from kpi_auth.webhooks.dependencies import CheckedCreate, CheckedUpdate, SentDeliveryList, SentWebhookList, WebhookId
from kpi_auth.webhooks.errors import WebhookLimitError, WebhookNotFoundError
from kpi_auth.webhooks.filters import WebhookList
from kpi_auth.webhooks.responses import secret_response
from kpi_auth.webhooks.schemas import (
    DeliveryPage,
    DeliveryPublic,
    Replay,
    ReplayStarted,
    SecretRotation,
    WebhookCreated,
    WebhookPage,
    WebhookPublic,
)

router = Router(prefix="/webhooks", tags=["webhooks"], dependencies=[Depends(no_store)])

_ADMIN = (UnauthenticatedError, ForbiddenError)
_FOUND = problems(*_ADMIN, WebhookNotFoundError)


@router.post(
    "",
    status_code=201,
    response_model=WebhookCreated,
    responses=problems(*_ADMIN, WebhookLimitError, *RETRY_ERRORS),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def create_webhook(request: CheckedCreate, context: CurrentContext, once: Once) -> Response:
    """Send events to a URL from now on; admins only. The secret that signs them is in this response only."""
    async with once.writing(request.caller) as connection:
        new = await service.create(context, connection, caller=request.caller, wanted=request.columns)
        return await once.keep(secret_response(new, status=201, headers={"Location": f"/webhooks/{new.row.id}"}))


@router.get("", responses=problems(*_ADMIN, InvalidCursorError))
async def list_webhooks(request: SentWebhookList, cursors: Cursors, connection: Reader) -> WebhookPage:
    """List the webhooks, newest first; admins only."""
    rows = await repository.get_page(connection, before=request.before, limit=request.limit + 1)
    page = cut_page(
        rows,
        limit=request.limit,
        cursor_after=lambda row: encode_cursor((row.id,), of=WebhookList(), sealer=cursors),
    )
    return WebhookPage(items=[WebhookPublic.of(row) for row in page.rows], next=page.next)


@router.get("/{webhook_id}", responses=_FOUND)
async def get_webhook(webhook_id: WebhookId, _caller: AdminAccess, connection: Reader) -> WebhookPublic:
    """Return a webhook without its secret; admins only."""
    return WebhookPublic.of(await service.get_or_raise(connection, webhook_id=webhook_id))


@router.patch("/{webhook_id}", responses=_FOUND)
async def update_webhook(
    webhook_id: WebhookId, request: CheckedUpdate, context: CurrentContext, connection: Writer
) -> WebhookPublic:
    """Change some fields of a webhook, pause it, or start it again; admins only."""
    caller, wanted = request
    row = await service.change(context, connection, webhook_id=webhook_id, caller=caller, wanted=wanted)
    return WebhookPublic.of(row)


@router.delete("/{webhook_id}", status_code=204, responses=_FOUND)
async def delete_webhook(
    webhook_id: WebhookId, caller: AdminAccess, context: CurrentContext, connection: Writer
) -> None:
    """Delete a webhook and the events that wait to be sent to it; admins only."""
    await service.delete(context, connection, webhook_id=webhook_id, caller=caller)


@router.post(
    "/{webhook_id}/rotate-secret",
    response_model=WebhookCreated,
    responses=_FOUND | problems(*RETRY_ERRORS),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def rotate_webhook_secret(
    webhook_id: WebhookId,
    caller: AdminAccess,
    context: CurrentContext,
    once: Once,
    sent: SecretRotation | None = None,
) -> Response:
    """Give a webhook a new secret; for `grace_seconds`, a day unless given, both sign. Admins only."""
    grace = timedelta(seconds=(sent or SecretRotation()).grace_seconds)
    async with once.writing(caller) as connection:
        new = await service.rotate_secret(context, connection, webhook_id=webhook_id, caller=caller, grace=grace)
        return await once.keep(secret_response(new))


@router.post("/{webhook_id}/replay", status_code=202, responses=_FOUND)
async def replay_events(
    webhook_id: WebhookId, sent: Replay, caller: AdminAccess, context: CurrentContext, connection: Writer
) -> ReplayStarted:
    """Send the events since a time, or after a `seq`, once more, and start a disabled webhook again; admins only.

    Events that are no longer kept are left out: `after_seq` says where it begins.
    """
    done = await service.replay(context, connection, webhook_id=webhook_id, caller=caller, place=sent.place)
    return ReplayStarted(after_seq=done.after, last_seq=done.last, state=done.row.state)


@router.get("/{webhook_id}/deliveries", responses=_FOUND | problems(InvalidCursorError))
async def list_deliveries(request: SentDeliveryList, cursors: Cursors, connection: Reader) -> DeliveryPage:
    """List the events that a webhook has not received yet, newest first, with the last error of each; admins only."""
    chosen, before, limit = request
    await service.get_or_raise(connection, webhook_id=chosen.webhook_id)
    rows = await delivery_repository.get_page(connection, delivery_filter=chosen, before=before, limit=limit + 1)
    page = cut_page(rows, limit=limit, cursor_after=lambda row: encode_cursor((row.seq,), of=chosen, sealer=cursors))
    items = [DeliveryPublic.model_validate(row, from_attributes=True) for row in page.rows]
    return DeliveryPage(items=items, next=page.next)
