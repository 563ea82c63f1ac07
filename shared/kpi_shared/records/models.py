"""Columns that most tables have, for the classes of ``models.py``."""

from typing import Any

from sqlalchemy import BigInteger, Column, Computed, DateTime, Identity, func
from sqlalchemy.dialects.postgresql import TSVECTOR, dialect
from sqlmodel import Field

_quote = dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]  # SQLAlchemy types it not


def row_id() -> Any:  # noqa: ANN401 SQLModel's own result
    return Field(default=None, sa_column=Column(BigInteger, Identity(always=False), primary_key=True))


def write_time(**more: Any) -> Any:  # noqa: ANN401 SQLModel's own arguments and result
    """When the row was written: by default, the time of the transaction."""
    return Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()}, **more)


def deletion_time() -> Any:  # noqa: ANN401 as above
    """When the row was deleted, in a table that keeps deleted rows; NULL before that."""
    return Field(default=None, sa_type=DateTime(timezone=True))


def words_of(*columns: str) -> Any:  # noqa: ANN401 as above
    """The words of text columns, as ``kpi_shared.records.repository`` looks them up."""
    return Field(sa_column=Column(TSVECTOR, Computed(word_vector(*columns), persisted=True), nullable=False))


def word_vector(*columns: str) -> str:
    """Everything between words is replaced first, since PostgreSQL's parser makes a host name of "Node.js".

    The collation is one that does not depend on the server. This is how PostgreSQL writes the expression itself.
    """
    text, *others = (f"COALESCE({_quote(column)}, ''::text)" for column in columns)
    for other in others:
        text = f"(({text} || ' '::text) || {other})"
    return f"to_tsvector('simple'::regconfig, {split_expression(text)})"


def split_expression(text: str) -> str:
    """The words of an SQL expression in lower case, with one blank between two."""
    return f"regexp_replace(lower(({text} COLLATE pg_c_utf8)), '[^[:alnum:]]+'::text, ' '::text, 'g'::text)"
