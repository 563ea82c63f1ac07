"""The rows of one table: created, listed, read, changed and deleted one by one."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property, lru_cache
from operator import itemgetter
from typing import Any

from psycopg.errors import ForeignKeyViolation, UniqueViolation
from psycopg.types.json import Jsonb
from pydantic import BaseModel
from sqlalchemy import Column, bindparam, delete, func, insert, literal, null, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from kpi_shared.caller import Subject
from kpi_shared.cursors import CursorSealer
from kpi_shared.database import DirectConnection
from kpi_shared.database.statements import Statement
from kpi_shared.paging import Page, Total, check_start, cut_page, decode_cursor
from kpi_shared.records.errors import RowNotFoundError, UnknownReferenceError, ValueTakenError
from kpi_shared.records.filters import Filters, ListRequest, PagedRecords, key_format
from kpi_shared.records.list_repository import count_statement, page_statement
from kpi_shared.records.responses import RecordRow
from kpi_shared.records.schemas import ListQuery
from kpi_shared.records.shown_repository import AccountField, ShownTable

_KEPT = 200


class Records:
    """The statements of one table, whose columns are named after the fields of ``public``.

    ``missing`` is raised where no row has the id, and ``taken`` where another row has the value of a unique column. A
    table with the column ``deleted_at`` keeps deleted rows: they do not exist for all but ``restore`` and a list of
    them. A table with the column ``search`` can be searched.
    """

    def __init__(
        self,
        model: type[SQLModel],
        public: type[BaseModel],
        *,
        missing: type[RowNotFoundError],
        taken: Mapping[str, type[ValueTakenError]] | None = None,
        owner: AccountField | None = None,
    ) -> None:
        self._shown = ShownTable(model, public, owner)
        self._missing = missing
        table = self._shown.table
        self._taken = {f"uq_{table.name}_{column}": error for column, error in (taken or {}).items()}
        self._references = {str(key.name): key.column_keys[0] for key in table.foreign_key_constraints}
        self._json = {column.key for column in table.c if isinstance(column.type, JSONB)}
        by_id = self._shown.select().where(self._shown.has_id())
        self._get = Statement(by_id, self._shown.make)
        # A second writer waits here, then reads the row again as the first has left it.
        self._lock = Statement(by_id.with_for_update(of=table, key_share=True), self._shown.make)
        self._remove = _remove(self._shown)

    def parse_list(self, query: ListQuery, filters: Filters, cursors: CursorSealer) -> ListRequest:
        """InvalidCursorError if the cursor is not one of this list, or comes with ``skip``."""
        check_start(cursor=query.cursor, skip=query.skip)
        key = self._shown.columns[filters.shape.order.column or "id"]
        listed = PagedRecords(self._shown.table.name, filters, key_format(key.type.python_type))
        after = decode_cursor(query.cursor, of=listed, sealer=cursors) if query.cursor else None
        return ListRequest(listed, query.limit, query.skip, after, query.total, cursors)

    async def get_page(self, connection: DirectConnection, request: ListRequest) -> Page[RecordRow]:
        filters = request.listed.filters
        shape, values = filters.shape, filters.values
        key, last_id = request.after or (None, None)
        statement = page_statement(self._shown, shape, start=request.start, after_null=key is None, size=request.size)
        rows = await statement.all(connection, {**values, "skip": request.skip, "key": key, "last_id": last_id})
        total = None
        if request.has_total:
            total = Total.of(await count_statement(self._shown, shape).one(connection, values))
        page = cut_page(rows[: request.limit + 1], limit=request.limit, cursor_after=request.cursor_after)
        return page._replace(total=total)

    async def get(self, connection: DirectConnection, row_id: int) -> RecordRow | None:
        return await self._get.one_or_none(connection, {"id": row_id})

    async def get_or_raise(self, connection: DirectConnection, row_id: int) -> RecordRow:
        return self._require(await self.get(connection, row_id))

    async def lock(self, connection: DirectConnection, row_id: int) -> RecordRow:
        """The row as it stays until the end of the transaction; the noun's error if there is none."""
        return self._require(await self._lock.one_or_none(connection, {"id": row_id}))

    async def add(
        self, connection: DirectConnection, values: Mapping[str, Any], *, owner: Subject | None = None
    ) -> RecordRow:
        """Add a row; the same statement adds or renames its owner's account, where the rows show it.

        ValueTakenError or UnknownReferenceError.
        """
        await self._hold_parents(connection, values)
        account = {} if owner is None else _describe(owner)
        with self._translate_errors():
            statement = _add(self._shown, tuple(values), has_owner=owner is not None)
            return await statement.one(connection, self._bind(values) | account)

    async def change(self, connection: DirectConnection, row_id: int, changes: Mapping[str, Any]) -> RecordRow:
        """Change a row that is locked. Errors as above; a reference that it has already is not refused."""
        await self._hold_parents(connection, changes, row_id)
        with self._translate_errors():
            return await _change(self._shown, tuple(changes)).one(connection, self._bind(changes) | {"id": row_id})

    async def remove(self, connection: DirectConnection, row_id: int) -> None:
        """Delete a row that is locked, or mark it as deleted."""
        await self._remove.one(connection, {"id": row_id})

    async def restore(self, connection: DirectConnection, row_id: int) -> RecordRow:
        """Take the deletion of a row back; one that is not deleted stays as it is. Errors as above.

        It comes back as it was: also if a row that it refers to has been deleted since.
        """
        with self._translate_errors():
            restored = await _restore(self._shown).one_or_none(connection, {"id": row_id})
        return restored or await self.get_or_raise(connection, row_id)

    async def _hold_parents(
        self, connection: DirectConnection, values: Mapping[str, Any], row_id: int | None = None
    ) -> None:
        """UnknownReferenceError if a value names a deleted row that its table keeps, unless the row ``row_id`` names it
        already; the others stay until the end of the transaction. A foreign key ensures the same where deleted rows are
        gone.
        """
        for name, (held, repeated) in self._kept_parents.items():
            bound = {"value": values.get(name), "id": row_id}
            if bound["value"] is None or await held.one_or_none(connection, bound) is not None:
                continue
            # A form that is saved as a whole repeats what the row has.
            if row_id is None or await repeated.one_or_none(connection, bound) is None:
                raise UnknownReferenceError(name)

    @cached_property
    def _kept_parents(self) -> Mapping[str, tuple[Statement[Any], Statement[Any]]]:
        """Found when the first row is written: until then, the other table may not have been imported."""
        parents = {key.parent.key: key.column for key in self._shown.table.foreign_keys}
        return {
            name: (_hold(parent), _repeat(self._shown, name))
            for name, parent in parents.items()
            if "deleted_at" in parent.table.c
        }

    def _require(self, row: RecordRow | None) -> RecordRow:
        if row is None:
            raise self._missing
        return row

    def _bind(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            f"new_{name}": Jsonb(value) if name in self._json and value is not None else value
            for name, value in values.items()
        }

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except UniqueViolation as error:
            taken = self._taken.get(error.diag.constraint_name or "")
            if taken is None:
                raise
            raise taken from None
        except ForeignKeyViolation as error:
            field = self._references.get(error.diag.constraint_name or "")
            if field is None:
                raise
            raise UnknownReferenceError(field) from None


def _describe(owner: Subject) -> dict[str, Any]:
    return {"owner_id": owner.id, "username": owner.username, "version": owner.account_version or 0}


def _new(names: Iterable[str]) -> dict[str, Any]:
    return {name: bindparam(f"new_{name}") for name in names}


def _hold(parent: Column[Any]) -> Statement[Any]:
    # A deletion is an update of a column that is no key, for which only FOR SHARE waits.
    held = select(literal(1)).where(parent == bindparam("value"), parent.table.c.deleted_at.is_(None))
    return Statement(held.with_for_update(read=True), itemgetter(0))


def _repeat(shown: ShownTable, name: str) -> Statement[Any]:
    repeated = select(literal(1)).where(shown.has_id(), shown.columns[name] == bindparam("value"))
    return Statement(repeated, itemgetter(0))


@lru_cache(_KEPT)
def _add(shown: ShownTable, names: tuple[str, ...], *, has_owner: bool) -> Statement[RecordRow]:
    values = _new(names)
    if has_owner:
        values[shown.account_id] = bindparam("owner_id")
    return Statement(shown.select_added(insert(shown.table).values(values)), shown.make)


@lru_cache(_KEPT)
def _change(shown: ShownTable, names: tuple[str, ...]) -> Statement[RecordRow]:
    # The time is later than any earlier one of the same transaction, too.
    values = _new(names) | {"updated_at": func.clock_timestamp()}
    return Statement(shown.select_changed(update(shown.table).where(shown.has_id()).values(values)), shown.make)


def _remove(shown: ShownTable) -> Statement[Any]:
    if shown.keeps_deleted:
        removed = update(shown.table).values(deleted_at=func.clock_timestamp())
        return Statement(removed.where(shown.has_id()).returning(shown.columns.id), itemgetter(0))
    return Statement(delete(shown.table).where(shown.has_id()).returning(shown.columns.id), itemgetter(0))


@cache
def _restore(shown: ShownTable) -> Statement[RecordRow]:
    restored = update(shown.table).where(shown.has_id(deleted=True)).values(deleted_at=null())
    return Statement(shown.select_changed(restored), shown.make)
