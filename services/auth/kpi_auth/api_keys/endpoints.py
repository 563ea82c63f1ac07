"""API keys: making, reading, changing, rotating and ending them."""

from datetime import timedelta

from fastapi import Depends, Response
from kpi_shared.cursors import InvalidCursorError
from kpi_shared.database import Reader, Writer
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.conditional import IF_MATCH, ChangedMeanwhileError
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems
from kpi_shared.idempotency import IDEMPOTENCY_KEY, RETRY_ERRORS, Once
from kpi_shared.paging import Cursors, cut_page, encode_cursor
from kpi_shared.security import OptionalReadAccess, ReadAccess, WriteAccess

from kpi_auth.api_keys import repository, service
from kpi_auth.api_keys.dependencies import KeyId, SentKeyRequest, SentListRequest
from kpi_auth.api_keys.errors import (
    BeyondRightsError,
    KeyHeldError,
    KeyInUseError,
    KeyLimitError,
    KeyNotActiveError,
    KeyNotFoundError,
    KeyReplacedError,
    NotYourKeyError,
    ReplacedKeyError,
)
from kpi_auth.api_keys.responses import created_response, key_response, rotated_response
from kpi_auth.api_keys.schemas import (
    ApiKeyCreate,
    ApiKeyCreated,
    ApiKeyPage,
    ApiKeyPublic,
    ApiKeyRotated,
    ApiKeyUpdate,
    KeyRevocation,
    Rotation,
)
from kpi_auth.context import CurrentContext
from kpi_auth.responses import no_store
from kpi_auth.tokens.errors import InvalidKeyError

router = Router(prefix="/api-keys", tags=["api-keys"], dependencies=[Depends(no_store)])

_CHANGED = problems(UnauthenticatedError, BeyondRightsError, ReplacedKeyError, KeyNotFoundError, ChangedMeanwhileError)


@router.post(
    "",
    status_code=201,
    response_model=ApiKeyCreated,
    responses=problems(UnauthenticatedError, BeyondRightsError, ReplacedKeyError, KeyLimitError, *RETRY_ERRORS),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def create_api_key(wanted: ApiKeyCreate, caller: WriteAccess, context: CurrentContext, once: Once) -> Response:
    """Create a key for programs. Its text is in this response only.

    Its scopes are at most those of your role or, if you use a key, of that key; so are its end, its networks and its
    rate limit.
    """
    async with once.writing(caller) as connection:
        new = await service.create(context, connection, caller=caller, wanted=wanted.columns)
        return await once.keep(created_response(new))


@router.get("", responses=problems(UnauthenticatedError, ForbiddenError, InvalidCursorError))
async def list_api_keys(request: SentListRequest, cursors: Cursors, connection: Reader) -> ApiKeyPage:
    """List your keys, newest first; for admins, the keys of all users."""
    key_filter, before, limit = request
    rows = await repository.get_page(connection, key_filter=key_filter, before=before, limit=limit + 1)
    page = cut_page(rows, limit=limit, cursor_after=lambda row: encode_cursor((row.id,), of=key_filter, sealer=cursors))
    return ApiKeyPage(items=[ApiKeyPublic.of(row) for row in page.rows], next=page.next)


@router.post(
    "/self/revoke",
    status_code=204,
    responses=problems(UnauthenticatedError, InvalidKeyError),
)
async def revoke_api_key(
    caller: OptionalReadAccess, context: CurrentContext, connection: Writer, sent: KeyRevocation | None = None
) -> None:
    """End a key for good by possession alone: the key in the body or, without a body, the key of the request.

    A key in the body ends in any state and from any network, so a leaked key can be ended where it is found.
    """
    if sent is not None:
        await service.revoke_by_text(context, connection, text=sent.key.get_secret_value())
    elif caller is None:
        raise UnauthenticatedError
    else:
        await service.revoke_own(context, connection, caller=caller)


@router.get("/{key_id}", response_model=ApiKeyPublic, responses=problems(UnauthenticatedError, KeyNotFoundError))
async def get_api_key(key_id: KeyId, caller: ReadAccess, connection: Reader) -> Response:
    """Return one of your keys, without its text; for admins, any key."""
    return key_response(await service.get_visible_or_raise(connection, key_id=key_id, caller=caller))


@router.patch(
    "/{key_id}",
    response_model=ApiKeyPublic,
    responses=_CHANGED | problems(KeyReplacedError),
    openapi_extra=IF_MATCH,
)
async def update_api_key(
    wanted: ApiKeyUpdate, request: SentKeyRequest, context: CurrentContext, connection: Writer
) -> Response:
    """Change some fields of a key. The gateway applies the change within 5 seconds."""
    return key_response(await service.change(context, connection, request=request, wanted=wanted.columns))


@router.delete("/{key_id}", status_code=204, responses=_CHANGED | problems(KeyInUseError), openapi_extra=IF_MATCH)
async def delete_api_key(request: SentKeyRequest, context: CurrentContext, connection: Writer) -> None:
    """Delete a key: within 5 seconds it is refused everywhere."""
    await service.delete(context, connection, request=request)


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    response_model=ApiKeyRotated,
    responses=_CHANGED
    | problems(UnauthenticatedError, NotYourKeyError, BeyondRightsError, ReplacedKeyError, KeyNotFoundError)
    | problems(KeyReplacedError, KeyNotActiveError, KeyLimitError, *RETRY_ERRORS),
    openapi_extra={"parameters": [*IF_MATCH["parameters"], *IDEMPOTENCY_KEY["parameters"]]},
)
async def rotate_api_key(
    request: SentKeyRequest, context: CurrentContext, once: Once, sent: Rotation | None = None
) -> Response:
    """Replace a key of your own by a new one with the same rights. Both work for `grace_seconds`, at most 7 days."""
    wanted = sent or Rotation()
    grace = timedelta(seconds=wanted.grace_seconds)
    async with once.writing(request.caller) as connection:
        rotated = await service.rotate(context, connection, request=request, grace=grace, expires_at=wanted.expires_at)
        return await once.keep(rotated_response(rotated))


@router.post(
    "/{key_id}/deactivate",
    response_model=ApiKeyPublic,
    responses=_CHANGED | problems(KeyInUseError),
    openapi_extra=IF_MATCH,
)
async def deactivate_api_key(request: SentKeyRequest, context: CurrentContext, connection: Writer) -> Response:
    """Refuse a key until it is activated again."""
    return key_response(await service.set_active(context, connection, request=request, is_active=False))


@router.post(
    "/{key_id}/activate",
    response_model=ApiKeyPublic,
    responses=_CHANGED | problems(BeyondRightsError, ReplacedKeyError, KeyHeldError),
    openapi_extra=IF_MATCH,
)
async def activate_api_key(request: SentKeyRequest, context: CurrentContext, connection: Writer) -> Response:
    """Accept a deactivated key again. What an admin has deactivated, only an admin activates."""
    return key_response(await service.set_active(context, connection, request=request, is_active=True))
