"""The columns of each kind in a real PostgreSQL: types, constraints without pydantic before them, and defaults."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import op
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from field_support import MIX, codes_of, load, source_of
from kpi_cli.generate.fields.kinds import KINDS
from kpi_cli.generate.specs import Kind
from kpi_shared.records.models import word_vector
from kpi_shared.testing.postgres import create_database
from pydantic_core import to_json
from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    Connection,
    MetaData,
    Table,
    Text,
    Uuid,
    create_engine,
    insert,
    select,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DataError, IntegrityError

PARENTS = """
CREATE TABLE posts (id bigint PRIMARY KEY);
CREATE TABLE parents (id uuid PRIMARY KEY);
CREATE TABLE tags (slug text PRIMARY KEY);
"""
REQUIRED = [spec for spec in MIX if "required" in spec]


@pytest.fixture(scope="module")
def module() -> Any:
    return load(source_of(codes_of(MIX)))


@pytest.fixture(scope="module")
def engine_url(worker: str) -> str:
    return create_database(f"kpi_fields_{worker}").replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture(scope="module")
def migrated(module: Any, engine_url: str) -> Iterator[Connection]:
    """In a transaction that is rolled back, with the table as the migration of autogenerate makes it."""
    engine = create_engine(engine_url)
    with engine.connect() as connection:
        connection.execute(text(PARENTS))
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        _migrate(context, module)
        yield connection
        connection.rollback()
    engine.dispose()


@pytest.fixture
def connection(migrated: Connection) -> Iterator[Connection]:
    with migrated.begin_nested() as savepoint:
        yield migrated
        savepoint.rollback()


def _add_parents(module: Any) -> None:
    """Tables that the foreign keys name, as those of other nouns."""
    metadata = module.Product.metadata
    for name, column in {
        "posts": Column("id", BigInteger, primary_key=True, autoincrement=False),
        "parents": Column("id", Uuid, primary_key=True),
        "tags": Column("slug", Text, primary_key=True),
    }.items():
        if name not in metadata.tables:
            Table(name, metadata, column)


def _migrate(context: MigrationContext, module: Any) -> None:
    """What Alembic writes into the revision, run as it stands there."""
    _add_parents(module)
    script = produce_migrations(context, module.Product.metadata)
    code = render_python_code(script.upgrade_ops, migration_context=context)
    with Operations.context(context):
        exec(f"if True:\n    {code}", {"op": op, "sa": sa, "postgresql": postgresql})  # noqa: S102 the code is what is tested


def test_a_second_autogenerate_finds_no_difference(connection: Connection, module: Any) -> None:
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    assert compare_metadata(context, module.Product.metadata) == []


def _required_row(module: Any) -> dict[str, Any]:
    body = {code.name: code.example for code in codes_of(REQUIRED)} | {"post_id": 1}
    # Those two have an apostrophe in their default, which only the body has.
    names = {*body, "note", "options"}
    return dict(module.ProductCreate.model_validate_json(to_json(body)).model_dump(include=names))


def _add(connection: Connection, module: Any, **values: Any) -> Any:
    connection.execute(text("INSERT INTO posts VALUES (1) ON CONFLICT DO NOTHING"))
    row = _required_row(module) | values
    table = module.Product.__table__
    with connection.begin_nested():
        return connection.execute(insert(table).values(row).returning(*table.c)).one()


def test_a_row_without_the_optional_fields_has_their_defaults(connection: Connection, module: Any) -> None:
    body = {code.name: code.example for code in codes_of(REQUIRED)} | {"post_id": 1}
    expected = module.ProductCreate.model_validate_json(to_json(body)).model_dump()
    row = _add(connection, module)._asdict()
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("name", [code.name for code in codes_of(MIX) if not code.is_file and not code.foreign_table])
def test_what_pydantic_accepts_fits_into_the_column(connection: Connection, module: Any, name: str) -> None:
    code = next(code for code in codes_of(MIX) if code.name == name)
    for value in (code.example, *code.accepted, *(sent for sent, _ in code.shown_as)):
        body = {**{each.name: each.example for each in codes_of(REQUIRED)}, name: value}
        validated = getattr(module.ProductCreate.model_validate_json(to_json(body)), name)
        row = _add(connection, module, **{name: validated})
        shown = json.loads(to_json({"value": getattr(row, name)}))["value"]
        assert shown == {json.dumps(sent): expected for sent, expected in code.shown_as}.get(json.dumps(value), value)
        connection.execute(text("DELETE FROM products"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", ""),
        ("title", "a" * 201),
        ("code", "ab"),
        ("body", "abcd"),
        ("stock", -1),
        ("rank", -5),
        ("rank", -1),
        ("level", 8),
        ("views", 2**63),
        ("temperature", float("inf")),
        ("temperature", float("nan")),
        ("rating", 5.1),
        ("weight", Decimal(0)),
        ("price", Decimal("-0.01")),
        ("price", Decimal(10000000000)),
        ("discount", Decimal("50.01")),
        ("share", Decimal(100)),
        ("contact", "a@"),
        ("website", "ftp://example.com"),
        ("sku", "Red"),
        ("sku", "a" * 101),
        ("part", "a"),
        ("phone", "030"),
        ("color", "#FF8000"),
        ("last_ip", "192.0.2.1/24"),
        ("status", "gone"),
        ("photo", {"media_type": "image/png"}),
        ("post_id", 7),
        ("tag", "none"),
        ("tags", None),
    ],
)
def test_the_database_refuses_it_too(connection: Connection, module: Any, name: str, value: Any) -> None:
    with pytest.raises((IntegrityError, DataError)):
        _add(connection, module, **{name: value})


def test_constraints_have_the_names_of_the_house(connection: Connection) -> None:
    found = connection.execute(
        text("SELECT conname FROM pg_constraint WHERE conrelid = 'products'::regclass AND contype <> 'n'")
    )
    names = set(found.scalars())
    assert {"ck_products_price_range", "ck_products_status_choice", "ck_products_sku_form", "uq_products_sku"} <= names
    assert {"ck_products_title_length", "ck_products_photo_file", "fk_products_post_id", "pk_products"} <= names
    indexes = set(connection.execute(text("SELECT indexname FROM pg_indexes WHERE tablename = 'products'")).scalars())
    assert {"ix_products_starts_at", "ix_products_post_id", "uq_products_sku"} <= indexes


def test_types_are_those_that_the_page_of_fields_names(connection: Connection) -> None:
    query = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'products'::regclass"
    types = {row[0]: row[1] for row in connection.execute(text(query))}
    for spec in MIX:
        name, kind = spec.split(":")[:2]
        expected = KINDS[Kind(kind.partition("(")[0])].postgresql
        assert types[name].removesuffix(" without time zone") == expected


def test_a_deleted_row_keeps_no_value_taken(engine_url: str) -> None:
    [code] = codes_of(["sku:slug:unique"], soft_deletes=True)
    assert code.table_args[-1] == (
        'Index("uq_products_sku", "sku", unique=True, postgresql_where=text("deleted_at IS NULL"))'
    )


def test_reserved_words_of_sql_are_quoted(connection: Connection) -> None:
    texts = ["order:integer:ge:0,index", "select:string:unique,max:5", "user:slug", "table:enum(a|b)", "check:ip"]
    reserved = load(source_of(codes_of([*texts, "end:float"])))
    connection.execute(text("DROP TABLE products"))
    reserved.Product.metadata.create_all(connection)
    table = reserved.Product.__table__
    row = {"order": 1, "select": "a", "user": "a", "table": "b", "check": "::1", "end": 1.5}
    connection.execute(insert(table).values(id=1, **row))
    assert connection.execute(select(table.c.order, table.c.table)).one() == (1, "b")
    for wrong in ({"order": -1}, {"table": "c"}, {"user": "A"}, {"end": float("nan")}):
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(insert(table).values(id=2, **row | {"select": "b"} | wrong))


def test_reserved_words_of_sql_are_searched(connection: Connection) -> None:
    """``user`` is a function without its quotes."""
    words = word_vector("group", "user", "title")
    Table(
        "gears",
        metadata := MetaData(),
        *(Column(name, Text) for name in ("group", "user", "title")),
        Column("search", postgresql.TSVECTOR, Computed(words, persisted=True)),
    )
    metadata.create_all(connection)
    connection.execute(text("INSERT INTO gears VALUES ('Front', NULL, 'left')"))
    assert connection.execute(text("SELECT search FROM gears")).scalar() == "'front':1 'left':2"
    query = "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'gears'::regclass"
    assert connection.execute(text(query)).scalar() == words
