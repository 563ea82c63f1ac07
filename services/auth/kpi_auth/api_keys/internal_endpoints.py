"""The endpoints for the gateway, on the internal port."""

import hmac

from fastapi import APIRouter, Depends, Request, Response
from kpi_shared.errors import UnauthenticatedError
from pydantic import BaseModel

from kpi_auth.api_keys import exchange as service
from kpi_auth.api_keys.exchange_schemas import ExchangedKeys, KeyExchange, KeyExchanges, UseReport
from kpi_auth.api_keys.models import KeyUse
from kpi_auth.context import CurrentContext
from kpi_auth.responses import no_store
from kpi_auth.tokens.errors import InvalidKeyError


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
