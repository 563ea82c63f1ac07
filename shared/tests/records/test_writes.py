"""Writes: what is stored comes back, the database's refusals become the noun's errors, and races have one winner."""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from kpi_shared.database import Database, get_direct, install_database_handlers
from kpi_shared.http.conditional import ChangedMeanwhileError, etag_of, parse_condition
from kpi_shared.records.errors import UnknownReferenceError
from kpi_shared.records.responses import check_version, encode_row
from kpi_shared.testing.client import client_of
from psycopg.errors import ForeignKeyViolation, LockNotAvailable
from records_support import (
    ShelfNotFoundError,
    ToolCodeTakenError,
    ToolNotFoundError,
    ToolPublic,
    ask,
    cases,
    shelves,
    tools,
)

pytestmark = pytest.mark.anyio


async def add(database: Database, **values: Any) -> dict[str, Any]:
    async with database.direct() as connection:
        return await tools.add(connection, {"name": "hammer", **values})


async def get(database: Database, tool_id: int) -> dict[str, Any]:
    async with database.direct() as connection:
        return await tools.get_or_raise(connection, tool_id)


async def change(database: Database, tool_id: int, **changes: Any) -> dict[str, Any]:
    async with database.writing() as connection:
        direct = await get_direct(connection)
        await tools.lock(direct, tool_id)
        return await tools.change(direct, tool_id, changes)


async def remove(database: Database, tool_id: int) -> None:
    async with database.writing() as connection:
        direct = await get_direct(connection)
        await tools.lock(direct, tool_id)
        await tools.remove(direct, tool_id)


async def test_a_row_is_the_same_in_every_response(database: Database) -> None:
    """The entity tag is a hash of the body, so the bytes are what counts."""
    values = {
        "price": Decimal("1.50"),
        "key": UUID(int=7),
        "more": [{"a": [1.5, None, "é"]}],
    }
    added = await add(database, **values)
    assert added.items() >= values.items()
    assert list(added) == list(ToolPublic.model_fields)
    assert encode_row(await get(database, added["id"])) == encode_row(added)
    changed = await change(database, added["id"], more=None, price=None)
    assert changed == {**added, "more": None, "price": None, "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > added["updated_at"]
    assert encode_row(await get(database, added["id"])) == encode_row(changed)


async def test_values_that_are_left_out_have_the_default_of_the_column(database: Database) -> None:
    assert (await add(database))["stock"] == 0


async def test_json_that_is_no_object_is_stored_as_it_is(database: Database) -> None:
    for value in ({}, [], [1, 2], "text", 0, False):
        assert (await add(database, more=value))["more"] == value


async def test_what_does_not_exist_is_the_error_of_the_noun(database: Database) -> None:
    with pytest.raises(ToolNotFoundError):
        await get(database, 1)
    with pytest.raises(ToolNotFoundError):
        await change(database, 1, name="x")
    with pytest.raises(ToolNotFoundError):
        await remove(database, 1)
    async with database.direct() as connection:
        with pytest.raises(ShelfNotFoundError):
            await shelves.get_or_raise(connection, 1)


async def test_a_value_that_another_row_has_is_refused(database: Database) -> None:
    await add(database, code="a")
    other = await add(database, code="b")
    with pytest.raises(ToolCodeTakenError):
        await add(database, code="a")
    with pytest.raises(ToolCodeTakenError):
        await change(database, other["id"], code="a")
    # Its own value is no other row's, and no value is not one.
    await change(database, other["id"], code="b")
    await add(database)
    await add(database)


async def test_of_many_who_want_a_value_at_once_one_gets_it(database: Database) -> None:
    results = await asyncio.gather(*(add(database, code="same") for _ in range(12)), return_exceptions=True)
    assert [type(result) for result in results if not isinstance(result, dict)] == [ToolCodeTakenError] * 11


async def test_a_reference_to_no_row_names_its_field(database: Database) -> None:
    for attempt in (add(database, shelf_id=99), change(database, (await add(database))["id"], shelf_id=99)):
        with pytest.raises(UnknownReferenceError) as raised:
            await attempt
        assert raised.value.status == 422
        assert raised.value.errors is not None
        assert raised.value.errors[0]["pointer"] == "#/body/shelf_id"


async def add_case(database: Database, *, deleted: bool) -> int:
    async with database.direct() as connection:
        case_id: int = (await cases.add(connection, {}))["id"]
        if deleted:
            await cases.remove(connection, case_id)
    return case_id


async def test_a_deleted_row_that_is_kept_is_not_referred_to_again(database: Database) -> None:
    kept = await add(database, case_id=await add_case(database, deleted=False))
    gone = await add_case(database, deleted=True)
    for attempt in (add(database, case_id=gone), change(database, kept["id"], case_id=gone)):
        with pytest.raises(UnknownReferenceError, match="case_id"):
            await attempt
    # What does not change the reference is not refused, and neither is its removal.
    async with database.direct() as connection:
        await cases.remove(connection, kept["case_id"])
    assert (await change(database, kept["id"], name="saw"))["case_id"] == kept["case_id"]
    assert (await change(database, kept["id"], name="axe", case_id=kept["case_id"]))["name"] == "axe"
    with pytest.raises(UnknownReferenceError, match="case_id"):
        await change(database, (await add(database))["id"], case_id=kept["case_id"])
    # A row that comes back does so as it was.
    await remove(database, kept["id"])
    async with database.direct() as connection:
        assert (await tools.restore(connection, kept["id"]))["case_id"] == kept["case_id"]
    assert (await change(database, kept["id"], case_id=None))["case_id"] is None


async def test_a_row_is_not_deleted_while_another_begins_to_refer_to_it(database: Database) -> None:
    case_id = await add_case(database, deleted=False)
    async with database.writing() as adding, database.writing() as deleting:
        await tools.add(await get_direct(adding), {"name": "hammer", "case_id": case_id})
        direct = await get_direct(deleting)
        await direct.execute("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(LockNotAvailable):
            await cases.remove(direct, case_id)
        await direct.rollback()


async def test_what_is_referred_to_is_not_deleted(database: Database) -> None:
    async with database.direct() as connection:
        shelf = await shelves.add(connection, {})
    await add(database, shelf_id=shelf["id"])
    app = FastAPI()
    install_database_handlers(app)

    @app.delete("/shelves/{shelf_id}", status_code=204)
    @app.post("/shelves/{shelf_id}/mistakes")
    async def delete_shelf(shelf_id: int) -> None:
        async with database.direct() as connection:
            await shelves.remove(connection, shelf_id)

    async with client_of(app) as client:
        response = await client.delete(f"/shelves/{shelf['id']}")
        assert (response.status_code, response.json()["type"]) == (409, "still-referenced")
        # Elsewhere it is a mistake of our own, of which a client learns nothing.
        with pytest.raises(ForeignKeyViolation):
            await client.post(f"/shelves/{shelf['id']}/mistakes")


async def test_of_two_writers_with_the_same_version_one_succeeds(database: Database) -> None:
    tool = await add(database)
    condition = parse_condition([etag_of(encode_row(tool))])
    both_wait = asyncio.Barrier(2)

    async def write(name: str) -> None:
        async with database.writing() as connection:
            direct = await get_direct(connection)
            await both_wait.wait()
            check_version(condition, await tools.lock(direct, tool["id"]))
            await tools.change(direct, tool["id"], {"name": name})

    results = await asyncio.gather(write("one"), write("two"), return_exceptions=True)
    assert [type(result) for result in results if result] == [ChangedMeanwhileError]
    assert (await get(database, tool["id"]))["name"] in {"one", "two"}


async def test_a_deleted_row_exists_only_for_its_list_and_its_return(database: Database) -> None:
    tool = await add(database, code="a")
    await remove(database, tool["id"])
    for attempt in (get(database, tool["id"]), change(database, tool["id"], name="x"), remove(database, tool["id"])):
        with pytest.raises(ToolNotFoundError):
            await attempt
    async with database.direct() as connection:
        assert (await tools.get_page(connection, ask(total=True))).total == (0, True)
        (deleted,) = (await tools.get_page(connection, ask(is_deleted=True))).rows
        assert deleted["id"] == tool["id"]
        assert deleted["deleted_at"] is not None
        assert await tools.restore(connection, tool["id"]) == tool
        # Once more, it changes nothing.
        assert await tools.restore(connection, tool["id"]) == tool
        with pytest.raises(ToolNotFoundError):
            await tools.restore(connection, 99)


async def test_a_deleted_row_keeps_no_value_taken(database: Database) -> None:
    tool = await add(database, code="a")
    await remove(database, tool["id"])
    await add(database, code="a")
    async with database.direct() as connection:
        with pytest.raises(ToolCodeTakenError):
            await tools.restore(connection, tool["id"])
