"""Lists: every row once, in every order, with and without values; filters, searches, totals and cursors."""

import random
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from kpi_shared import paging
from kpi_shared.cursors import InvalidCursorError
from kpi_shared.database import Database
from kpi_shared.records import list_repository
from records_support import ask, tools

pytestmark = pytest.mark.anyio
START = datetime(2024, 2, 29, 12, tzinfo=UTC)
# Few values, so that many rows have the same, and the extremes.
VALUES: dict[str, list[Any]] = {
    "name": ["a", "B", "é", '"quoted" \\', "z" * 255, "😀" * 255],
    "code": [None],
    "stock": [-(2**31), -1, 0, 2**31 - 1],
    "price": [None, Decimal("-9999999999.99"), Decimal("0.10"), Decimal("9999999999.99")],
    "weight": [None, -1e308, 0.1, 5e-324, 1e308],
    "bought_on": [None, date(1, 1, 1), date(2024, 2, 29), date(9999, 12, 31)],
    "opens_at": [None, time(0), time(23, 59, 59, 999_999)],
    "used_at": [
        None,
        START,
        START + timedelta(microseconds=1),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
}
SORTS = ["new", *(sign + name for name in VALUES for sign in ("", "-"))]


async def add(database: Database, **values: Any) -> dict[str, Any]:
    async with database.direct() as connection:
        return await tools.add(connection, {"name": "hammer", **values})


async def add_many(database: Database, count: int) -> None:
    chance = random.Random(1)
    for _ in range(count):
        await add(database, **{name: chance.choice(values) for name, values in VALUES.items()})


async def read(database: Database, **options: Any) -> list[dict[str, Any]]:
    """All rows, page by page."""
    rows: list[dict[str, Any]] = []
    cursor = None
    while True:
        async with database.direct() as connection:
            page = await tools.get_page(connection, ask(cursor=cursor, **options))
        rows += page.rows
        assert len(page.rows) <= options["limit"]
        if page.next is None:
            return rows
        assert len(page.rows) == options["limit"]
        assert len(page.next) <= 2000
        cursor = page.next


async def test_every_order_has_each_row_once_and_those_without_a_value_last(database: Database) -> None:
    await add_many(database, 40)
    for sort in SORTS:
        async with database.direct() as connection:
            whole = list((await tools.get_page(connection, ask(sort=sort, limit=100))).rows)
        assert len({row["id"] for row in whole}) == 40, sort
        for limit in (1, 7, 39, 40):
            assert await read(database, sort=sort, limit=limit) == whole, (sort, limit)
        name = sort.removeprefix("-")
        if name == "new":
            assert [row["id"] for row in whole] == sorted((row["id"] for row in whole), reverse=True)
            continue
        given = [row for row in whole if row[name] is not None]
        assert whole[: len(given)] == given, sort
        if name != "name":
            # Texts have the order of the database's collation.
            in_order = sorted(given, key=lambda row: (row[name], row["id"]), reverse=sort.startswith("-"))
            assert given == in_order, sort


async def test_skipped_rows_are_those_of_the_pages_before(database: Database) -> None:
    await add_many(database, 12)
    rows = await read(database, sort="price", limit=100)
    for skip in (0, 1, 5, 11, 12, 10_000):
        async with database.direct() as connection:
            page = await tools.get_page(connection, ask(sort="price", limit=5, skip=skip))
        assert list(page.rows) == rows[skip : skip + 5]
        assert (page.next is None) == (skip + 5 >= 12)


async def test_filters_are_inclusive_and_combined(database: Database) -> None:
    for stock, price in ((1, "1.00"), (2, "2.00"), (2, None), (3, "3.00")):
        await add(database, stock=stock, price=price and Decimal(price))

    async def find(**filters: Any) -> list[int]:
        return sorted(row["stock"] for row in await read(database, limit=2, **filters))

    assert await find(equal={"stock": 2}) == [2, 2]
    assert await find(equal={"stock": 2, "price": Decimal("2.0")}) == [2]
    assert await find(at_least={"price": Decimal(2)}) == [2, 3]
    assert await find(at_most={"price": Decimal(2)}) == [1, 2]
    assert await find(at_least={"stock": 2}, at_most={"stock": 2, "price": None}) == [2, 2]
    assert await find(equal={"stock": None}) == [1, 2, 2, 3]
    assert await find(at_least={"stock": 4}) == []


@pytest.mark.parametrize(
    ("search", "is_found"),
    [
        ("claw", True),
        ("CLA", True),
        ("hammer cl", True),
        ("node js", True),
        ("Node.js", True),
        ("élan", True),
        ("ÉL", True),
        ("a-17", True),
        ("law", False),
        ("claw saw", False),
        ("' | claw", True),
        ("!claw", True),
        ("claw:* &", True),
        ("\\", False),
        ("&|!():*<->'\"", False),
        ("%", False),
    ],
)
async def test_a_search_finds_beginnings_of_words_and_no_syntax(
    search: str, *, is_found: bool, database: Database
) -> None:
    await add(database, name="Claw hammer/Node.js Élan", code="A-17")
    await add(database, name="other")
    rows = await read(database, limit=10, search=search)
    assert [row["code"] for row in rows] == (["A-17"] if is_found else [])


async def test_a_blank_search_is_no_condition(database: Database) -> None:
    await add(database)
    assert len(await read(database, limit=10, search="  ")) == 1


async def test_a_total_counts_the_whole_list_and_says_where_it_stops(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stock in (1, 1, 1, 2):
        await add(database, stock=stock)

    async def count(**filters: Any) -> tuple[int, bool] | None:
        list_repository.count_statement.cache_clear()
        async with database.direct() as connection:
            return (await tools.get_page(connection, ask(limit=1, **filters))).total

    assert await count() is None
    assert await count(total=True) == (4, True)
    assert await count(total=True, equal={"stock": 1}) == (3, True)
    for module in (paging, list_repository):
        monkeypatch.setattr(module, "MAX_TOTAL", 3)
    assert await count(total=True) == (3, False)
    assert await count(total=True, equal={"stock": 1}) == (3, True)
    list_repository.count_statement.cache_clear()


async def test_a_cursor_is_of_one_list_alone(database: Database) -> None:
    await add_many(database, 3)
    async with database.direct() as connection:
        cursor = (await tools.get_page(connection, ask(limit=1, sort="stock", equal={"stock": None}))).next
    ask(cursor=cursor, sort="stock", limit=50)
    others: list[dict[str, Any]] = [
        {"sort": "-stock"},
        {"sort": "new"},
        {"sort": "stock", "equal": {"stock": 1}},
        {"sort": "stock", "at_least": {"stock": 1}},
        {"sort": "stock", "at_most": {"stock": 1}},
        {"sort": "stock", "search": "a"},
        {"sort": "stock", "is_deleted": True},
        {"sort": "stock", "skip": 1},
    ]
    for other in others:
        with pytest.raises(InvalidCursorError):
            ask(cursor=cursor, **other)


async def test_the_values_of_a_filter_belong_to_the_list(database: Database) -> None:
    for _ in range(2):
        await add(database, stock=1)
    async with database.direct() as connection:
        cursor = (await tools.get_page(connection, ask(limit=1, equal={"stock": 1}))).next
    ask(cursor=cursor, equal={"stock": 1})
    with pytest.raises(InvalidCursorError):
        ask(cursor=cursor, equal={"stock": 2})
