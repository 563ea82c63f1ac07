"""What holds for every list of a noun of the usual shape: pages, orders, filters."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

from kpi_shared.testing.resources import Resource, Row, assert_problem, read_row


async def check_pages(rows: Resource) -> None:
    """No row is missing or there twice, although others come and go meanwhile."""
    made = [(await rows.add())["id"] for _ in range(5)]
    first = await rows.list_page({"limit": 2})
    await rows.add()
    second = await rows.list_page({"limit": 2, "cursor": first["next"]})
    (await rows.send("DELETE", second["items"][-1])).raise_for_status()
    third = await rows.list_page({"limit": 2, "cursor": second["next"]})
    found = [row["id"] for page in (first, second, third) for row in page["items"]]
    assert found == made[::-1]
    assert third["next"] is None


async def check_page_parameters(rows: Resource, other: dict[str, Any]) -> None:
    """``other`` is the query of another list, where a cursor of this one is refused."""
    made = [(await rows.add())["id"] for _ in range(4)]
    cursor = (await rows.list_page({"limit": 1}))["next"]
    assert [row["id"] for row in (await rows.list_page({"skip": 1, "limit": 2}))["items"]] == [made[2], made[1]]
    counted = await rows.list_page({"limit": 1, "total": "true"})
    assert (counted["total"], counted["total_is_exact"]) == (4, True)
    assert "total" not in await rows.list_page()
    for query in (other | {"cursor": cursor}, {"cursor": f"{cursor[:-4]}AAAA"}, {"cursor": cursor, "skip": 1}):
        response = await rows.send("GET", params=query)
        assert response.status_code in {400, 422}, (query, response.text)
        assert response.json()["type"] in {"invalid-cursor", "invalid-request"}
    for query in ({"limit": 0}, {"limit": 101}, {"skip": -1}, {"skip": 10_001}, {"sort": "unknown"}):
        assert_problem(await rows.send("GET", params=query), 422, "invalid-request")


async def check_sort(rows: Resource, name: str, *, is_nullable: bool, is_unique: bool) -> None:
    """In both directions: in order, empty values last, and pages of one row hold the same as one of all."""
    made = [await rows.add() for _ in range(4)]
    if not is_unique and name not in rows.links:
        # Equal values are in the order of their ids.
        made.append(await rows.add({name: made[1][name]}))
    if is_nullable:
        made += [await rows.add({name: None}) for _ in range(2)]
    for sort in (name, f"-{name}"):
        found = await rows.list_all({"sort": sort, "limit": 100})
        assert await rows.list_ids({"sort": sort, "limit": 1}) == [row["id"] for row in found]
        assert sorted(row["id"] for row in found) == sorted(row["id"] for row in made)
        _assert_in_order([row[name] for row in found], is_descending=sort.startswith("-"))


def _assert_in_order(values: Sequence[Any], *, is_descending: bool) -> None:
    filled = [_comparable(value) for value in values if value is not None]
    assert list(values[len(filled) :]) == [None] * (len(values) - len(filled))
    for one, next_one in pairwise(reversed(filled) if is_descending else filled):
        assert one <= next_one


def _comparable(value: Any) -> Any:  # noqa: ANN401 JSON
    """Numbers that are shown as texts are compared as numbers."""
    try:
        return Decimal(value) if isinstance(value, str) else value
    except InvalidOperation:
        return value


async def check_filter(rows: Resource, name: str) -> None:
    """Only the rows with exactly this value."""
    made = [await rows.add() for _ in range(4)]
    value = made[1][name]
    wanted = [row["id"] for row in made if row[name] == value]
    assert wanted != [row["id"] for row in made]
    assert await rows.list_ids({name: _as_query(value)}) == wanted[::-1]
    assert (await rows.list_page({"total": "true", name: _as_query(value)}))["total"] == len(wanted)


async def check_range(rows: Resource, name: str) -> None:
    """Both bounds are inclusive; rows without a value are in no range."""
    made = [await rows.add() for _ in range(5)]
    ordered: list[Row] = sorted(made, key=lambda row: _comparable(row[name]))
    low, high = ordered[1][name], ordered[3][name]
    for bounds in ({f"{name}_from": low}, {f"{name}_to": high}, {f"{name}_from": low, f"{name}_to": high}):
        wanted = [row["id"] for row in made if _is_between(row[name], **_rename(bounds, name))]
        query = {each: _as_query(value) for each, value in bounds.items()}
        assert await rows.list_ids(query) == wanted[::-1], bounds
    assert await rows.list_ids({f"{name}_from": _as_query(high), f"{name}_to": _as_query(low)}) in ([], wanted)


def _rename(bounds: dict[str, Any], name: str) -> dict[str, Any]:
    return {each.removeprefix(f"{name}_"): value for each, value in bounds.items()}


def _is_between(value: Any, **bounds: Any) -> bool:  # noqa: ANN401 JSON
    compared = _comparable(value)
    low, high = (_comparable(bounds.get(each, value)) for each in ("from", "to"))
    return bool(low <= compared <= high)


def _as_query(value: Any) -> str:  # noqa: ANN401 as above
    return str(value).lower() if isinstance(value, bool) else str(value)


async def check_search(rows: Resource, name: str) -> None:
    """Words, and their beginnings, in any case."""
    row = await rows.add({name: "Quince jam"})
    await rows.add()
    for words in ("quince", "QUINCE JAM", "jam quin"):
        assert await rows.list_ids({"search": words}) == [row["id"]], words
    assert await rows.list_ids({"search": "quincex"}) == []
    assert len(await rows.list_ids({"search": " "})) == 2


async def check_mine(rows: Resource) -> None:
    """Only the caller's own rows."""
    accounts = rows.accounts
    annas = await rows.add(by=accounts.anna)
    berts = await rows.add(by=accounts.bert)
    assert await rows.list_ids(by=accounts.anna) == [berts["id"], annas["id"]]
    assert await rows.list_ids({"mine": "true"}, by=accounts.anna) == [annas["id"]]
    assert read_row(await rows.send("GET", annas, by=accounts.bert)) == annas
