"""The endpoints for the gateway, on the internal port."""

import hmac

from fastapi import APIRouter, Depends, Request
from kpi_shared.errors import UnauthenticatedError

from kpi_auth.api_keys import exchange as service
from kpi_auth.api_keys.exchange_schemas import ExchangedKey, KeyExchange, UseReport
from kpi_auth.api_keys.models import KeyUse
from kpi_auth.context import CurrentContext
from kpi_auth.responses import no_store


class UnknownPeerError(UnauthenticatedError):
    """Not the type of a wrong API key: this is an error of the installation, not of a client."""

    type = "internal-key-required"
    title = "The internal port needs INTERNAL_KEY as a Bearer token"


async def _require_internal_key(request: Request) -> None:
    expected = request.app.state.settings.internal_key
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    fits = expected is not None and hmac.compare_digest(given.encode(), expected.get_secret_value().encode())
    if scheme.lower() != "bearer" or not fits:
        raise UnknownPeerError


router = APIRouter(prefix="/internal/api-keys", dependencies=[Depends(_require_internal_key), Depends(no_store)])


@router.post("/exchange")
async def exchange(sent: KeyExchange, context: CurrentContext) -> ExchangedKey:
    """Exchange a key for a short token."""
    return await service.exchange(context, text=sent.key.get_secret_value())


@router.post("/uses", status_code=204)
async def report_uses(sent: UseReport, context: CurrentContext) -> None:
    """Count uses of keys and record refused networks: a batch for many requests."""
    uses = [
        KeyUse(use.key_id, use.count, use.last_used_at, str(use.address) if use.address else None) for use in sent.uses
    ]
    await service.add_uses(context, uses=uses, refusals=sent.refusals)
