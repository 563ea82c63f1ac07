"""The dependencies of the endpoints of API keys."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Path, Query
from kpi_shared.database import MAX_ID
from kpi_shared.errors import ForbiddenError
from kpi_shared.http.conditional import IfMatch
from kpi_shared.integers import Decimal
from kpi_shared.paging import Cursors, decode_cursor
from kpi_shared.security import ReadAccess, WriteAccess

from kpi_auth.api_keys.filters import KeyFilter
from kpi_auth.api_keys.schemas import ApiKeyQuery
from kpi_auth.api_keys.service import KeyRequest

KeyId = Annotated[Decimal, Path(ge=1, le=MAX_ID)]


async def _key_request(key_id: KeyId, caller: WriteAccess, if_match: IfMatch) -> KeyRequest:
    return KeyRequest(caller, key_id, if_match)


class ListRequest(NamedTuple):
    key_filter: KeyFilter
    before: int | None
    limit: int


async def _list_request(query: Annotated[ApiKeyQuery, Query()], caller: ReadAccess, cursors: Cursors) -> ListRequest:
    """Validate the whole request before a connection is taken."""
    if not caller.is_admin and query.owner_id not in {None, caller.id}:
        raise ForbiddenError("Only an admin may list the API keys of others")
    key_filter = KeyFilter(query.owner_id if caller.is_admin else caller.id, query.state)
    [before] = decode_cursor(query.cursor, of=key_filter, sealer=cursors) if query.cursor else [None]
    return ListRequest(key_filter, before, query.limit)


SentKeyRequest = Annotated[KeyRequest, Depends(_key_request)]
SentListRequest = Annotated[ListRequest, Depends(_list_request)]
