"""The endpoints for the gateway, on the internal port, which has checked INTERNAL_KEY."""

from typing import TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from kpi_shared.errors import current_request_id
from pydantic import BaseModel, ValidationError

from kpi_auth.api_keys import exchange as service
from kpi_auth.api_keys.exchange_schemas import ExchangedKeys, KeyExchange, KeyExchanges, UseReport
from kpi_auth.api_keys.models import KeyUse
from kpi_auth.context import Context, CurrentContext, context_of
from kpi_auth.origin import Origin
from kpi_auth.responses import no_store
from kpi_auth.tokens.errors import InvalidKeyError

Sent = TypeVar("Sent", bound=BaseModel)
_PREFIX = "/internal/api-keys"
router = APIRouter(prefix=_PREFIX, dependencies=[Depends(no_store)])


async def exchange(request: Request) -> Response:
    """Exchange a key for a short token."""
    sent = await _read(request, KeyExchange)
    (found,) = await service.exchange(_context(request), texts=[sent.key.get_secret_value()])
    if found is None:
        raise InvalidKeyError
    return _json_response(found)


async def exchange_several(request: Request) -> Response:
    """Exchange keys that came at the same time, each on its own account."""
    sent = await _read(request, KeyExchanges)
    found = await service.exchange(_context(request), texts=[key.get_secret_value() for key in sent.keys])
    return _json_response(ExchangedKeys(exchanged=found))


# Requests with a key wait for these two: FastAPI's own routes take longer than all that is done for a key.
router.add_route(f"{_PREFIX}/exchange", exchange, methods=["POST"])
router.add_route(f"{_PREFIX}/exchanges", exchange_several, methods=["POST"])


async def _read(request: Request, model: type[Sent]) -> Sent:
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in found]) from None


def _context(request: Request) -> Context:
    # An exchange records nothing, so nothing is read of the request for its origin.
    return context_of(request.app.state, Origin(address=None, user_agent=None, request_id=current_request_id()))


def _json_response(content: BaseModel) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(content.model_dump_json(), media_type="application/json", headers=headers)


@router.post("/uses", status_code=204)
async def report_uses(sent: UseReport, context: CurrentContext) -> None:
    """Count uses of keys and record refused networks: a batch for many requests."""
    uses = [
        KeyUse(use.key_id, use.count, use.last_used_at, str(use.address) if use.address else None) for use in sent.uses
    ]
    await service.add_uses(context, uses=uses, refusals=sent.refusals)
