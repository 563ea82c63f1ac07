"""What statements select of a table: what its noun shows of a row, and nothing else."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel
from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    Executable,
    Select,
    SQLColumnExpression,
    Table,
    Text,
    and_,
    bindparam,
    select,
)
from sqlalchemy.sql.dml import Insert, Update
from sqlmodel import SQLModel

from kpi_shared.records.responses import RecordRow, make_account

Joined = Select[*tuple[Any, ...]]


class AccountField(NamedTuple):
    """A field that shows an account with its name, in a service that has a copy of the names.

    The column is named after it: ``owner_id`` for ``owner``. ``remember`` adds the account that a statement binds as
    ``owner_id``, ``username`` and ``version``.
    """

    field: str
    name: SQLColumnExpression[str | None]
    join: Callable[[Joined, SQLColumnExpression[int]], Joined]
    remember: Callable[[], CTE]


class ShownTable:
    """A table, and the fields of its noun's public schema, each of which is a column, or the account field."""

    def __init__(self, model: type[SQLModel], public: type[BaseModel], account: AccountField | None) -> None:
        self.table: Table = model.__table__  # type: ignore[attr-defined]
        self.columns = self.table.c
        self.keeps_deleted = "deleted_at" in self.columns
        self._names = tuple(public.model_fields)
        self._account = account
        self.account_id = f"{account.field}_id" if account else ""
        self._shown: Sequence[Column[Any]] = [
            self.columns[self.account_id if account and name == account.field else name] for name in self._names
        ]

    def has_id(self, *, deleted: bool = False) -> ColumnElement[bool]:
        """The row whose id is bound as ``id``, unless it has been deleted, or only if it has been."""
        return and_(self.columns.id == bindparam("id", type_=self.columns.id.type), self.is_listed(deleted=deleted))

    def is_listed(self, *, deleted: bool = False) -> ColumnElement[bool]:
        if not self.keeps_deleted:
            return and_(True)
        is_deleted: ColumnElement[bool] = self.columns.deleted_at.is_not(None)
        return is_deleted if deleted else ~is_deleted

    def select(self) -> Joined:
        if self._account is None:
            return select(*self._shown)
        return self._account.join(select(*self._shown, self._account.name), self.columns[self.account_id])

    def select_added(self, added: Insert) -> Executable:
        """The new row. Its account is added by the same statement: foreign keys are checked at the end of it."""
        returning = added.returning(*self._shown)
        if self._account is None:
            return returning
        rows = returning.cte("added")
        username = bindparam("username", type_=Text).label("username")
        return select(rows, username).add_cte(rows, self._account.remember())

    def select_changed(self, changed: Update) -> Executable:
        returning = changed.returning(*self._shown)
        if self._account is None:
            return returning
        rows = returning.cte("changed")
        return self._account.join(select(rows, self._account.name), rows.c[self.account_id])

    def make(self, values: Sequence[Any]) -> RecordRow:
        row = dict(zip(self._names, values, strict=False))
        if self._account is not None:
            row[self._account.field] = make_account(row[self._account.field], values[-1])
        return row
