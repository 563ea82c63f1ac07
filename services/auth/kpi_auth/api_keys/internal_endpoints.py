"""The endpoints for the gateway, on the internal port, which has checked INTERNAL_KEY."""

from fastapi import APIRouter, Depends

from kpi_auth.api_keys import exchange as service
from kpi_auth.api_keys.exchange_schemas import ExchangedKey, KeyExchange, UseReport
from kpi_auth.api_keys.models import KeyUse
from kpi_auth.context import CurrentContext
from kpi_auth.responses import no_store

router = APIRouter(prefix="/internal/api-keys", dependencies=[Depends(no_store)])


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
