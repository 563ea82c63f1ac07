"""The endpoints for the gateway, on the internal port, which has checked INTERNAL_KEY."""

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from kpi_auth.api_keys import exchange as service
from kpi_auth.api_keys.exchange_schemas import ExchangedKeys, KeyExchange, KeyExchanges, UseReport
from kpi_auth.api_keys.models import KeyUse
from kpi_auth.context import CurrentContext
from kpi_auth.responses import no_store
from kpi_auth.tokens.errors import InvalidKeyError

router = APIRouter(prefix="/internal/api-keys", dependencies=[Depends(no_store)])


@router.post("/exchange")
async def exchange(sent: KeyExchange, context: CurrentContext) -> Response:
    """Exchange a key for a short token."""
    (found,) = await service.exchange(context, texts=[sent.key.get_secret_value()])
    if found is None:
        raise InvalidKeyError
    return _json_response(found)


@router.post("/exchanges")
async def exchange_several(sent: KeyExchanges, context: CurrentContext) -> Response:
    """Exchange keys that came at the same time, each on its own account."""
    found = await service.exchange(context, texts=[key.get_secret_value() for key in sent.keys])
    return _json_response(ExchangedKeys(exchanged=found))


def _json_response(content: BaseModel) -> Response:
    # FastAPI would validate and convert the model once more.
    headers = {"Cache-Control": "no-store"}
    return Response(content.model_dump_json(), media_type="application/json", headers=headers)


@router.post("/uses", status_code=204)
async def report_uses(sent: UseReport, context: CurrentContext) -> None:
    """Count uses of keys and record refused networks: a batch for many requests."""
    uses = [
        KeyUse(use.key_id, use.count, use.last_used_at, str(use.address) if use.address else None) for use in sent.uses
    ]
    await service.add_uses(context, uses=uses, refusals=sent.refusals)
