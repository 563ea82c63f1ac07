"""The statements of lists: one for each table, shape and start, which is compiled once."""

from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    text,
    tuple_,
)

from kpi_shared.database.statements import Statement
from kpi_shared.paging import MAX_TOTAL, Start
from kpi_shared.records.filters import Order, Shape
from kpi_shared.records.models import split_expression
from kpi_shared.records.responses import RecordRow
from kpi_shared.records.shown_repository import Joined, ShownTable

_KEPT = 500
_words = split_expression("CAST(:search AS text)").replace("::", r"\:\:").replace("[:", r"[\:").replace(":]", r"\:]")
# Each word is a prefix. NULL, for a search without any word, finds nothing.
_query = f"to_tsquery('simple', NULLIF(replace(btrim({_words}), ' ', '\\:* & ') || '\\:*', '\\:*'))"


@lru_cache(_KEPT)
def page_statement(
    shown: ShownTable, shape: Shape, *, start: Start, after_null: bool, size: int
) -> Statement[RecordRow]:
    """The first rows of a list, or of what follows skipped rows or the position (``key``, ``last_id``)."""
    statement = _order(shown, shape.order, shown.select().where(_condition(shown, shape)))
    statement = statement.limit(literal_column(str(size)))
    if start is Start.AFTER:
        statement = statement.where(_follows(shown, shape.order, after_null=after_null))
    elif start is Start.SKIP:
        statement = statement.offset(bindparam("skip", type_=Integer))
    # Which index is right depends on how frequent the values are, and on how much is skipped.
    is_prepared = start is not Start.SKIP and not (shape.has_search or shape.equal or shape.at_least or shape.at_most)
    return Statement(statement, shown.make, is_prepared=is_prepared)


@lru_cache(_KEPT)
def count_statement(shown: ShownTable, shape: Shape) -> Statement[int]:
    some = select(shown.columns.id).where(_condition(shown, shape)).limit(literal_column(str(MAX_TOTAL + 1)))
    counted = select(func.count()).select_from(some.subquery())
    return Statement(counted, itemgetter(0), is_prepared=False)


def _condition(shown: ShownTable, shape: Shape) -> ColumnElement[bool]:
    columns = shown.columns
    conditions = [shown.is_listed(deleted=shape.is_deleted)]
    conditions += [columns[name] == _bind("equal", columns[name]) for name in shape.equal]
    conditions += [columns[name] >= _bind("from", columns[name]) for name in shape.at_least]
    conditions += [columns[name] <= _bind("to", columns[name]) for name in shape.at_most]
    if shape.has_search:
        conditions.append(columns.search.op("@@")(text(_query)))
    return and_(*conditions)


def _bind(group: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    return bindparam(f"{group}_{column.key}", type_=column.type)


def _order(shown: ShownTable, order: Order, statement: Joined) -> Joined:
    row_id = shown.columns.id
    by_id = row_id.desc() if order.is_descending else row_id.asc()
    if order.column is None:
        return statement.order_by(by_id)
    key = shown.columns[order.column]
    by_key = key.desc() if order.is_descending else key.asc()
    return statement.order_by(by_key.nulls_last() if key.nullable else by_key, by_id)


def _follows(shown: ShownTable, order: Order, *, after_null: bool) -> ColumnElement[bool]:
    row_id = shown.columns.id
    last_id = bindparam("last_id", type_=row_id.type)
    if order.column is None:
        return _compare(order, row_id, last_id)
    key = shown.columns[order.column]
    if after_null:
        return and_(key.is_(None), _compare(order, row_id, last_id))
    follows = _compare(order, tuple_(key, row_id), tuple_(bindparam("key", type_=key.type), last_id))
    return or_(follows, key.is_(None)) if key.nullable else follows


def _compare(order: Order, these: ColumnElement[Any], last: ColumnElement[Any]) -> ColumnElement[bool]:
    return these < last if order.is_descending else these > last
