"""The responses with users, with the fields that the caller may see."""

from fastapi import Response
from kpi_shared.caller import Subject
from kpi_shared.database import AnyRow
from kpi_shared.http.conditional import Condition
from kpi_shared.paging import Page

from kpi_auth.accounts.filters import Position, UserFilter
from kpi_auth.users.etags import private_etag, public_etag
from kpi_auth.users.schemas import (
    CountedPrivatePage,
    CountedPublicPage,
    PrivatePage,
    PublicPage,
    UserPage,
    UserPrivate,
    UserPublic,
)

# A response is for one caller only, and must be revalidated before it is used again.
_CACHING = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}


def user_response(caller: Subject, row: AnyRow, *, if_none_match: Condition | None) -> Response:
    """The user with the fields that the caller may see; 304 if the caller has this version already."""
    sees_all = caller.is_admin or caller.id == row.id
    etag = private_etag(row.version, row.id) if sees_all else public_etag(row.version)
    headers = {"ETag": etag, **_CACHING}
    if if_none_match is not None and if_none_match.matches_weakly(etag):
        return Response(status_code=304, headers=headers)
    shown = (UserPrivate if sees_all else UserPublic).model_validate(row)
    return Response(shown.model_dump_json(), media_type="application/json", headers=headers)


def private_response(row: AnyRow) -> Response:
    """The user with all fields and the tag of this version."""
    headers = {"ETag": private_etag(row.version, row.id), **_CACHING}
    return Response(UserPrivate.model_validate(row).model_dump_json(), media_type="application/json", headers=headers)


def page_response(page: Page[AnyRow], *, user_filter: UserFilter, total: int | None) -> UserPage:
    if user_filter.by_admin:
        private = [UserPrivate.model_validate(row) for row in page.rows]
        if total is None:
            return PrivatePage(items=private, next=page.next)
        return CountedPrivatePage(items=private, next=page.next, total=total)
    public = [UserPublic.model_validate(row) for row in page.rows]
    if total is None:
        return PublicPage(items=public, next=page.next)
    return CountedPublicPage(items=public, next=page.next, total=total)


def position_of(row: AnyRow, user_filter: UserFilter) -> Position:
    return Position(row.folded if user_filter.is_by_name else row.created_at, row.id)
