"""The SQL of lists of users. Statements are built once for each shape; each call only binds its values.

Names are compared with the operators of ``text_pattern_ops``: by character, independent of the database's collation, in
the order of the indexes. A prefix search is a range in that order. Therefore no character of the prefix is a wildcard,
and a generic plan, made before the prefix is known, can use the index as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from kpi_shared.caller import Role
from kpi_shared.database import AnyRow
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts.filters import Position, Sort, UserFilter

# Sorts after every character that can follow a prefix; no name or address contains it.
_LAST_CHARACTER = "\U0010ffff"

_COLUMNS = """
    id, username, full_name, bio, email, email_verified_at IS NOT NULL AS email_verified, role, is_active,
    created_at, updated_at, deleted_at, lower(username) AS folded
"""
_ORDER = {
    Sort.NEW: "created_at DESC, id DESC",
    Sort.OLD: "created_at, id",
    Sort.USERNAME: "lower(username) USING ~<~",
}
# A name is unique in lower case, so the id is not needed as a tie-breaker.
_AFTER = {
    Sort.NEW: "(created_at, id) < (CAST(:key AS timestamptz), :last_id)",
    Sort.OLD: "(created_at, id) > (CAST(:key AS timestamptz), :last_id)",
    Sort.USERNAME: "lower(username) ~>~ :key",
}
_USERNAME_MATCHES = "lower(username) ~>=~ :low AND lower(username) ~<~ :high"
_EMAIL_MATCHES = "email ~>=~ :low AND email ~<~ :high"
# Literals, not parameters: the planner uses a partial index only if the condition is known at planning time.
_ROLES = {Role.ADMIN: "role = 'admin'", Role.USER: "role = 'user'"}
_STATES = {True: "is_active", False: "NOT is_active"}


@dataclass(frozen=True, slots=True)
class _Shape:
    """The parts of a filter that determine the text of the statement."""

    search: bool
    role: Role | None
    is_active: bool | None
    deleted: bool
    by_admin: bool

    @classmethod
    def of(cls, user_filter: UserFilter) -> "_Shape":
        is_active = user_filter.is_active if user_filter.by_admin else True
        return cls(
            user_filter.search is not None, user_filter.role, is_active, user_filter.deleted, user_filter.by_admin
        )

    @property
    def conditions(self) -> list[str]:
        conditions = ["deleted_at IS NOT NULL" if self.deleted else "deleted_at IS NULL"]
        conditions += [_STATES[self.is_active]] if self.is_active is not None else []
        conditions += [_ROLES[self.role]] if self.role is not None else []
        if self.search and self.by_admin:
            conditions.append(f"(({_USERNAME_MATCHES}) OR ({_EMAIL_MATCHES}))")
        elif self.search:
            conditions.append(_USERNAME_MATCHES)
        return conditions


@cache
def _page_statement(shape: _Shape, sort: Sort, after: bool) -> TextClause:
    conditions = [*shape.conditions, _AFTER[sort]] if after else shape.conditions
    skipping = "" if after else "OFFSET :skip"
    # All fragments are constants of this module.
    return text(
        f"SELECT {_COLUMNS} FROM users WHERE {' AND '.join(conditions)} ORDER BY {_ORDER[sort]} LIMIT :limit {skipping}"  # noqa: S608
    )


@cache
def _count_statement(shape: _Shape) -> TextClause:
    return text(f"SELECT count(*) FROM users WHERE {' AND '.join(shape.conditions)}")  # noqa: S608 as above


def _search_values(user_filter: UserFilter) -> dict[str, object]:
    if user_filter.search is None:
        return {}
    return {"low": user_filter.search, "high": user_filter.search + _LAST_CHARACTER}


def build_page(
    user_filter: UserFilter, *, limit: int, skip: int = 0, after: Position | None = None
) -> tuple[TextClause, dict[str, Any]]:
    """The statement and the values for one page; with ``after``, the page that follows this position (keyset)."""
    statement = _page_statement(_Shape.of(user_filter), user_filter.sort, after is not None)
    values: dict[str, Any] = {**_search_values(user_filter), "limit": limit}
    if after is None:
        return statement, {**values, "skip": skip}
    by_id = {} if user_filter.is_by_name else {"last_id": after.id}
    return statement, {**values, "key": after.key, **by_id}


async def get_page(
    connection: AsyncConnection, *, user_filter: UserFilter, limit: int, skip: int = 0, after: Position | None = None
) -> Sequence[AnyRow]:
    statement, values = build_page(user_filter, limit=limit, skip=skip, after=after)
    return (await connection.execute(statement, values)).all()


async def count(connection: AsyncConnection, *, user_filter: UserFilter) -> int:
    return int(
        (await connection.execute(_count_statement(_Shape.of(user_filter)), _search_values(user_filter))).scalar_one()
    )
