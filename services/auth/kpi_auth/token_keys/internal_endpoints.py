"""The reports of other parts about their keys: on the internal port, where each key is that of one part."""

from fastapi import APIRouter, Depends, Request
from kpi_shared.token_keys.reports import HOLDERS_PATH, KilledKeys

from kpi_auth.context import CurrentContext
from kpi_auth.responses import no_store
from kpi_auth.token_keys import service
from kpi_auth.token_keys.schemas import HolderReport

router = APIRouter(dependencies=[Depends(no_store)])


@router.post(HOLDERS_PATH)
async def report_keys(sent: HolderReport, request: Request, context: CurrentContext) -> KilledKeys:
    """Store which keys a process holds, and return those that have been killed."""
    async with context.database.committing() as connection:
        peer: str = request.state.peer
        return KilledKeys(killed=await service.report_by_peer(connection, peer=peer, holding=sent.holding))
