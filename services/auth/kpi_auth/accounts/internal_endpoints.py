"""All accounts, for other parts that keep a copy: on the internal port, which has checked FEED_KEY."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from kpi_shared.database import MAX_ID, Reader
from pydantic_core import to_json

from kpi_auth.accounts import read_repository
from kpi_auth.events import repository as events

router = APIRouter(prefix="/internal/feed/accounts")


@router.get("")
async def get_accounts(
    connection: Reader,
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Response:
    """A page of accounts in the order of their ids. All events up to ``seq`` are in it."""
    # Before the accounts: an event between the two is read twice, and not missed.
    seq = (await events.get_ends(connection)).last
    items = await read_repository.get_states(connection, after=after, most=limit)
    following = items[-1]["id"] if len(items) == limit else None
    content = to_json({"seq": seq, "items": items, "next": following})
    return Response(content, media_type="application/json", headers={"Cache-Control": "no-store"})
