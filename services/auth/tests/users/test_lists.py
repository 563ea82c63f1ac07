"""Lists of users: visibility, order, pages, search, and the query plans."""

import itertools
from typing import Any

import httpx
import pytest
from auth_support import ALL_FIELDS, PUBLIC_FIELDS, Account, Accounts, assert_problem
from kpi_auth.accounts.filters import Position, Sort, UserFilter
from kpi_auth.accounts.list_repository import build_page
from kpi_shared.caller import Role
from sqlalchemy.dialects.postgresql.psycopg import dialect

MANY = 6_000
LIMIT = 11
ADD_MANY = """
    INSERT INTO users (username, email, email_signs_in, role, is_active, deleted_at, created_at)
    SELECT format('%s_%s', chr(97 + n % 26), n), format('mail%s@example.com', n), true,
           CASE WHEN n % 1000 = 1 THEN 'admin' ELSE 'user' END, n % 1000 <> 2,
           -- Each time occurs twice, so that the id decides as well.
           CASE WHEN n % 1000 = 3 THEN now() END, timestamptz '2024-01-01Z' + (n / 2) * interval '1 minute'
    FROM generate_series(1, :number) AS n
"""
ORDERS = {
    "new": "created_at DESC, id DESC",
    "old": "created_at, id",
    "username": 'lower(username) COLLATE "C"',
}


async def page(client: httpx.AsyncClient, by: Account, **asked: Any) -> dict[str, Any]:
    response = await client.get("/users", params=asked, headers=by.headers)
    assert response.status_code == 200, response.text
    shown: dict[str, Any] = response.json()
    return shown


async def names(client: httpx.AsyncClient, by: Account, **asked: Any) -> list[str]:
    return [
        item["username"] for item in (await page(client, by, **{"sort": "username", "limit": 100, **asked}))["items"]
    ]


async def walk(client: httpx.AsyncClient, by: Account, **asked: Any) -> list[int]:
    """Follow the cursors of all pages, and return the ids in order."""
    found: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        shown = await page(client, by, **asked, **cursor)
        found += [item["id"] for item in shown["items"]]
        if shown["next"] is None:
            return found
        cursor = {"cursor": shown["next"]}


async def ids(accounts: Accounts, where: str, order: str) -> list[int]:
    found = await accounts.scalar(f"SELECT array_agg(id ORDER BY {order}) FROM users WHERE {where}")  # noqa: S608
    assert isinstance(found, list)
    return found


async def test_a_list_requires_a_token(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/users"), 401, "unauthenticated")


async def test_the_defaults_of_a_list(client: httpx.AsyncClient, accounts: Accounts, anna: Account) -> None:
    await accounts.execute(ADD_MANY, number=30)
    shown = await page(client, anna)
    assert set(shown) == {"items", "next"}
    assert len(shown["items"]) == 10
    assert all(set(item) == PUBLIC_FIELDS for item in shown["items"])
    assert shown == await page(client, anna, sort="new", limit=10, skip=0, total=False)
    one = shown["items"][1]
    assert (await client.get(f"/users/{one['id']}", headers=anna.headers)).json() == one


async def test_users_see_active_users_and_admins_see_all(
    client: httpx.AsyncClient, accounts: Accounts, anna: Account, root: Account
) -> None:
    for name in ("closed", "deleted"):
        await accounts.add(name)
    await accounts.execute("UPDATE users SET is_active = false WHERE username IN ('closed', 'deleted')")
    await accounts.execute("UPDATE users SET deleted_at = now() WHERE username = 'deleted'")
    assert await names(client, anna) == ["anna", "root"]
    assert await names(client, root) == ["anna", "closed", "root"]
    assert await names(client, root, deleted=True) == ["deleted"]
    assert await names(client, root, is_active=False) == ["closed"]
    assert await names(client, root, is_active=True, role="user") == ["anna"]
    assert await names(client, root, role="admin") == ["root"]
    shown = await page(client, root, total=True)
    assert shown["total"] == 3
    assert all(set(item) == ALL_FIELDS for item in shown["items"])


@pytest.mark.parametrize("filters", [{"role": "user"}, {"is_active": "true"}, {"deleted": "false", "role": "admin"}])
async def test_a_filter_for_admins_is_refused_by_name(
    client: httpx.AsyncClient, anna: Account, filters: dict[str, str]
) -> None:
    response = await client.get("/users", params=filters, headers=anna.headers)
    assert_problem(response, 403, "field-not-yours", *(f"#/query/{name}" for name in sorted(filters, reverse=True)))


@pytest.mark.parametrize("sort", ORDERS)
@pytest.mark.parametrize("limit", [7, 100])
async def test_pages_contain_every_user_once_in_order(
    client: httpx.AsyncClient, accounts: Accounts, anna: Account, root: Account, sort: str, limit: int
) -> None:
    await accounts.execute(ADD_MANY, number=150)
    living = await ids(accounts, "deleted_at IS NULL", ORDERS[sort])
    assert await walk(client, root, sort=sort, limit=limit) == living
    active = await ids(accounts, "deleted_at IS NULL AND is_active", ORDERS[sort])
    assert await walk(client, anna, sort=sort, limit=limit) == active
    assert (await page(client, anna, total=True))["total"] == len(active)
    first = await page(client, anna, sort=sort, limit=20)
    skipped = await page(client, anna, sort=sort, limit=20, skip=20)
    assert skipped == await page(client, anna, sort=sort, limit=20, cursor=first["next"])


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("ann", ["Ann_x", "anna", "annB"]),
        ("ANN", ["Ann_x", "anna", "annB"]),
        ("\uff21\uff4e\uff4e", ["Ann_x", "anna", "annB"]),
        (" ann_ ", ["Ann_x"]),
        ("ann%", []),
        ("_nn", []),
        ("n", []),
        ("ann\\", []),
        ("annb", ["annB"]),
        ("ann@example.com", []),
        ("\U0010ffff", []),
        (" ", ["Ann_x", "anna", "annB", "other", "root"]),
    ],
)
async def test_a_search_is_a_literal_prefix_regardless_of_case(
    client: httpx.AsyncClient, accounts: Accounts, anna: Account, root: Account, search: str, found: list[str]
) -> None:
    for name in ("Ann_x", "annB", "other"):
        await accounts.add(name)
    assert await names(client, anna, search=search) == found
    assert len(await walk(client, anna, search=search, limit=1)) == len(found)


async def test_only_admins_search_addresses(
    client: httpx.AsyncClient, accounts: Accounts, anna: Account, root: Account
) -> None:
    await accounts.execute("UPDATE users SET email = 'zoe@mail.example' WHERE username = 'anna'")
    assert await names(client, anna, search="zoe") == []
    assert (await page(client, anna, search="zoe", total=True))["total"] == 0
    assert await names(client, root, search="ZOE@") == ["anna"]
    assert await names(client, root, search="mail") == []


async def test_a_cursor_is_valid_for_its_own_list_only(
    client: httpx.AsyncClient, accounts: Accounts, anna: Account, root: Account
) -> None:
    await accounts.execute(ADD_MANY, number=300)
    lists: list[tuple[Account, dict[str, Any]]] = [
        (anna, {}),
        (anna, {"sort": "old"}),
        (anna, {"sort": "username"}),
        (anna, {"search": "a"}),
        (root, {}),
        (root, {"role": "user"}),
        (root, {"is_active": True}),
        (root, {"search": "a"}),
    ]
    cursors = [(await page(client, by, limit=1, **asked))["next"] for by, asked in lists]
    for (by, asked), cursor in itertools.product(lists, cursors):
        own = cursors[lists.index((by, asked))]
        response = await client.get("/users", params=asked | {"cursor": cursor}, headers=by.headers)
        assert (response.status_code == 200) == (cursor == own), (asked, response.text)


@pytest.mark.parametrize("cursor", ["", "x", "A" * 43, "A" * 24, "A" * 100, "=" * 43, "é" * 43])
async def test_a_made_up_cursor_is_refused(client: httpx.AsyncClient, anna: Account, cursor: str) -> None:
    response = await client.get("/users", params={"cursor": cursor}, headers=anna.headers)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["#/query/cursor"]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "skip=-1", "skip=10001", "sort=top", "search=%00", "search=%ff", "role=x", "is_active=x"],
)
async def test_an_invalid_query_parameter_is_named(client: httpx.AsyncClient, root: Account, query: str) -> None:
    response = await client.get(f"/users?{query}", headers=root.headers)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [f"#/query/{query.partition('=')[0]}"]


async def test_a_cursor_and_a_skip_exclude_each_other(
    client: httpx.AsyncClient, accounts: Accounts, anna: Account
) -> None:
    await accounts.execute(ADD_MANY, number=30)
    cursor = (await page(client, anna))["next"]
    response = await client.get("/users", params={"cursor": cursor, "skip": 1}, headers=anna.headers)
    assert_problem(response, 422, "invalid-cursor")


# A page costs the same at any depth: tested by the query plan, not by time.


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


async def plan_of(
    accounts: Accounts, user_filter: UserFilter, *, skip: int = 0, after: Position | None = None
) -> list[dict[str, Any]]:
    statement, values = build_page(user_filter, limit=LIMIT, skip=skip, after=after)
    compiled = statement.compile(dialect=dialect())
    async with accounts.app.state.database.reading() as connection:
        explained = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {compiled}"
        result = await connection.exec_driver_sql(explained, compiled.construct_params(values))
        return nodes(result.scalar_one()[0]["Plan"])


def rows_read(plan: list[dict[str, Any]]) -> float:
    scans = [node for node in plan if node.get("Relation Name") == "users"]
    return sum(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) for node in scans)


async def fill(accounts: Accounts) -> None:
    await accounts.execute(ADD_MANY, number=MANY)
    await accounts.execute("ANALYZE users")


@pytest.mark.parametrize("by_admin", [False, True])
async def test_a_page_costs_the_same_at_any_depth(accounts: Accounts, by_admin: bool) -> None:
    await fill(accounts)
    indexes = {"new": "ix_users_created_at", "old": "ix_users_created_at", "username": "ix_users_username_prefix"}
    for sort, index in indexes.items():
        key = "lower(username)" if sort == "username" else "created_at"
        pages_read = []
        for depth in (10, 5_000):
            order = f"ORDER BY {ORDERS[sort]} OFFSET {depth} LIMIT 1"
            last_key: Any = await accounts.scalar(f"SELECT {key} FROM users {order}")  # noqa: S608
            last_id: Any = await accounts.scalar(f"SELECT id FROM users {order}")  # noqa: S608
            user_filter = UserFilter(Sort(sort), by_admin=by_admin)
            plan = await plan_of(accounts, user_filter, after=Position(last_key, last_id))
            kinds = {node["Node Type"] for node in plan}
            assert not kinds & {"Sort", "Incremental Sort", "Seq Scan", "Bitmap Heap Scan"}, (sort, depth, kinds)
            assert {node.get("Index Name") for node in plan} & {index}, (sort, depth)
            # Of a thousand users one or two are closed, and a page of active users skips them.
            assert LIMIT <= rows_read(plan) <= LIMIT + 2, (sort, depth)
            # The first scan has marked the dead rows that other tests have left behind.
            plan = await plan_of(accounts, user_filter, after=Position(last_key, last_id))
            pages_read.append(plan[0]["Shared Hit Blocks"] + plan[0]["Shared Read Blocks"])
        shallow, deep = pages_read
        assert deep <= shallow + 2 * LIMIT, (sort, pages_read)


@pytest.mark.parametrize(
    ("user_filter", "index"),
    [
        (UserFilter(Sort.NEW, role=Role.ADMIN, by_admin=True), "ix_users_admins"),
        (UserFilter(Sort.NEW, is_active=False, by_admin=True), "ix_users_closed"),
        (UserFilter(Sort.OLD, deleted=True, by_admin=True), "ix_users_closed"),
        (UserFilter(Sort.NEW, search="b_30"), "ix_users_username_prefix"),
        (UserFilter(Sort.USERNAME, search="b_30"), "ix_users_username_prefix"),
        (UserFilter(Sort.NEW, search="mail301", by_admin=True), "ix_users_email_prefix"),
    ],
)
async def test_small_subsets_are_found_by_an_index(accounts: Accounts, user_filter: UserFilter, index: str) -> None:
    await fill(accounts)
    plan = await plan_of(accounts, user_filter)
    assert index in {node.get("Index Name") for node in plan}
    assert "Seq Scan" not in {node["Node Type"] for node in plan}
    assert rows_read(plan) <= 3 * LIMIT
