"""What holds for every noun of the usual shape, whatever its fields are. A test names the noun and its particulars."""

import asyncio
from typing import Any

from kpi_shared.testing.resources import Headers, Resource, Row, assert_problem, assert_refused, read_row, statuses

_RACERS = 6


async def check_life(rows: Resource) -> None:
    """A row is made, read, replaced, changed and deleted."""
    body = rows.body()
    made = await rows.send("POST", json=body)
    row = read_row(made, 201)
    assert made.headers["Location"] == f"{rows.path}/{row['id']}"
    assert read_row(await rows.send("GET", row)) == row
    assert made.headers["ETag"] == (await rows.send("GET", row)).headers["ETag"]
    other = rows.changeable(rows.body())
    replaced = read_row(await rows.send("PUT", row, json=other))
    assert read_row(await rows.send("GET", row)) == replaced
    assert replaced["created_at"] == row["created_at"]
    assert replaced["updated_at"] > row["updated_at"]
    for name, value in rows.changeable(body).items():
        changed = read_row(await rows.send("PATCH", row, json={name: value}))
        assert changed[name] == row[name], name
    assert (await rows.send("DELETE", row)).status_code == 204
    for method, sent in (("GET", None), ("PUT", other), ("PATCH", first_field(other)), ("DELETE", None)):
        assert_problem(await rows.send(method, row, json=sent), 404, f"{rows.slug}-not-found")


async def check_bodies(rows: Resource) -> None:
    """Unknown fields, empty changes, and what a client may not set are refused."""
    row, body = await rows.add(), rows.body()
    for method, place, sent in (
        ("POST", None, body),
        ("PUT", row, rows.changeable(body)),
        ("PATCH", row, first_field(rows.changeable(body))),
    ):
        for name in ("unknown", "id", "owner_id", "created_at"):
            assert_refused(await rows.send(method, place, json={**sent, name: 1}), name)
    assert_problem(await rows.send("PATCH", row, json={}), 422, "invalid-request")


async def check_accepted(rows: Resource, name: str, *values: Any, shown: Any = ...) -> None:  # noqa: ANN401 JSON
    """Each value is stored and shown as it was sent, or as ``shown``."""
    for value in values:
        row = await rows.add({name: value})
        assert row[name] == (value if shown is ... else shown), value
        assert read_row(await rows.send("GET", row)) == row


async def check_refused(rows: Resource, name: str, *values: Any) -> None:  # noqa: ANN401 as above
    """No value is stored, by none of the three ways."""
    row = await rows.add()
    for value in values:
        assert_refused(await rows.send("POST", json=rows.body({name: value})), name)
        if name not in rows.fixed:
            assert_refused(await rows.send("PUT", row, json=rows.changeable(rows.body({name: value}))), name)
            assert_refused(await rows.send("PATCH", row, json={name: value}), name)
    assert read_row(await rows.send("GET", row)) == row


async def check_rights(rows: Resource, by: Headers, expected: str) -> None:
    """``200 200 201 403 403``: of listing, reading, creating, changing and deleting, on a row of the usual writer's."""
    row, body = await rows.add(), rows.body()
    responses = [
        await rows.send("GET", by=by),
        await rows.send("GET", row, by=by),
        await rows.send("POST", by=by, json=body),
        await rows.send("PATCH", row, by=by, json=first_field(rows.changeable(rows.body()))),
        await rows.send("DELETE", row, by=by),
    ]
    assert " ".join(str(response.status_code) for response in responses) == expected


async def check_conditions(rows: Resource) -> None:
    """A version that the client has is not sent again, and no change of another is overwritten."""
    row = await rows.add()
    read, listed = await rows.send("GET", row), await rows.send("GET")
    for response, place in ((read, row), (listed, None)):
        again = await rows.send("GET", place, headers={"If-None-Match": response.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    change = first_field(rows.changeable(rows.body()))
    stale = {"If-Match": read.headers["ETag"]}
    changed = await rows.send("PATCH", row, json=change, headers=stale)
    assert changed.status_code == 200, changed.text
    for method, sent in (("PUT", rows.changeable(rows.body())), ("PATCH", change), ("DELETE", None)):
        assert_problem(await rows.send(method, row, json=sent, headers=stale), 412, "changed-meanwhile")
    assert (await rows.send("GET", row, headers={"If-None-Match": read.headers["ETag"]})).status_code == 200
    current = {"If-Match": changed.headers["ETag"]}
    assert (await rows.send("DELETE", row, headers=current)).status_code == 204


async def check_lost_update(rows: Resource) -> None:
    """Of several changes of one version at the same time, one succeeds. Its client has real connections."""
    row = await rows.add()
    version = {"If-Match": (await rows.send("GET", row)).headers["ETag"]}
    bodies = [rows.changeable(rows.body()) for _ in range(_RACERS)]
    responses = await asyncio.gather(*(rows.send("PUT", row, json=body, headers=version) for body in bodies))
    assert statuses(responses) == [200] + [412] * (_RACERS - 1)


async def check_retries(rows: Resource) -> None:
    """A retry with the same key gets the first response, and adds no row."""
    body, key = rows.body(), {"Idempotency-Key": "k-1"}
    first = await rows.send("POST", json=body, headers=key)
    row = read_row(first, 201)
    again = await rows.send("POST", json=body, headers=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await rows.list_ids() == [row["id"]]


async def check_unique(rows: Resource, name: str) -> None:
    """No two rows have the same value; a row keeps its own."""
    slug = f"{rows.slug}-{name.replace('_', '-')}-taken"
    body = rows.body()
    value = body[name]
    row, other = read_row(await rows.send("POST", json=body), 201), await rows.add()
    assert_problem(await rows.send("POST", json=rows.body({name: value})), 409, slug)
    if name not in rows.fixed:
        assert_problem(await rows.send("PATCH", other, json={name: value}), 409, slug)
        assert_problem(await rows.send("PUT", other, json=rows.changeable(rows.body({name: value}))), 409, slug)
        assert (await rows.send("PATCH", row, json={name: value})).status_code == 200
    assert sorted(await rows.list_ids()) == sorted([row["id"], other["id"]])


async def check_unique_race(rows: Resource, name: str) -> None:
    """Of several rows with the same value at the same time, one is made. Its client has real connections."""
    value = rows.body()[name]
    bodies = [rows.body({name: value}) for _ in range(_RACERS)]
    responses = await asyncio.gather(*(rows.send("POST", json=body) for body in bodies))
    assert statuses(responses) == [201] + [409] * (_RACERS - 1)


async def check_reference(rows: Resource, name: str) -> None:
    """A row that is named must exist."""
    assert_refused(await rows.send("POST", json=rows.body({name: 2**40})), name)


async def check_fixed(rows: Resource, name: str) -> None:
    """A row stays with the row that it belongs to, and goes with it: see ``check_cascade``."""
    row = await rows.add()
    other = next(value for value in rows.links[name] if value != row[name])
    assert_refused(await rows.send("PATCH", row, json={name: other}), name)
    assert_refused(await rows.send("PUT", row, json={**rows.changeable(rows.body()), name: other}), name)


async def check_cascade(rows: Resource, name: str, table: str) -> None:
    """A row goes with the row that it belongs to."""
    row = await rows.add()
    await rows.execute(f"DELETE FROM {table} WHERE id = :id", id=row[name])  # noqa: S608 the name is the test's own
    assert_problem(await rows.send("GET", row), 404, f"{rows.slug}-not-found")


async def check_soft_deletes(rows: Resource) -> None:
    """Admins see what was deleted, and take the deletion back; no other account does."""
    row, kept = await rows.add(), await rows.add()
    assert (await rows.send("DELETE", row)).status_code == 204
    assert await rows.list_ids() == [kept["id"]]
    admin, bert = rows.accounts.admin, rows.accounts.bert
    (deleted,) = await rows.list_all({"deleted": "true"}, by=admin)
    assert deleted["id"] == row["id"]
    assert deleted["deleted_at"] is not None
    assert_problem(await rows.send("GET", by=bert, params={"deleted": "true"}), 403, "forbidden")
    assert_problem(await rows.send("POST", row, by=bert, under="/restore"), 403, "forbidden")
    restored = read_row(await rows.send("POST", row, by=admin, under="/restore"))
    assert restored == row
    assert await rows.list_ids() == [kept["id"], row["id"]]


async def check_restored_unique(rows: Resource, name: str) -> None:
    """A deleted row keeps no value from others, and does not come back while one of them has it."""
    body = rows.body()
    value = body[name]
    row = read_row(await rows.send("POST", json=body), 201)
    await rows.send("DELETE", row)
    other = await rows.add({name: value})
    restore = await rows.send("POST", row, by=rows.accounts.admin, under="/restore")
    assert_problem(restore, 409, f"{rows.slug}-{name.replace('_', '-')}-taken")
    await rows.send("DELETE", other)
    assert (await rows.send("POST", row, by=rows.accounts.admin, under="/restore")).status_code == 200


def first_field(body: Row) -> Row:
    name, value = next(iter(body.items()))
    return {name: value}


async def check_required(rows: Resource, *names: str) -> None:
    """A new row names each of these fields."""
    for name in names:
        body = {each: value for each, value in rows.body().items() if each != name}
        assert_refused(await rows.send("POST", json=body), name)


async def check_optional(rows: Resource, left_out: Row) -> None:
    """What a new row leaves out has these values."""
    body = {name: value for name, value in rows.body().items() if name not in left_out}
    row = read_row(await rows.send("POST", json=body), 201)
    assert {name: row[name] for name in left_out} == left_out
