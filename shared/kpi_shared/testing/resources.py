"""A noun of the usual shape under test: its address, bodies that differ by number, and the accounts that send them."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import httpx
from sqlalchemy import text

from kpi_shared.caller import Role, Scope, expand_scopes
from kpi_shared.database import Database
from kpi_shared.parts import Part
from kpi_shared.seeding.command import load_seeders
from kpi_shared.seeding.repository import find_values
from kpi_shared.tokens import TokenCodec

Headers = Mapping[str, str]
Row = dict[str, Any]
# As many as rows of a test refer to in turn.
_PARENTS = 12


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """The header fields of requests by several accounts; ``anna_reading`` is an API key of anna's that only reads."""

    anonymous: Headers
    anna: Headers
    bert: Headers
    admin: Headers
    anna_reading: Headers

    @classmethod
    def of(cls, tokens: TokenCodec) -> "Accounts":
        # Longer than all tests take, on any machine.
        mint = partial(tokens.mint, session_id="1", lifetime=timedelta(hours=3))
        anna = partial(mint, user_id=11, username="anna", role=Role.USER)
        return cls(
            anonymous={},
            anna=_bear(anna()),
            bert=_bear(mint(user_id=22, username="bert", role=Role.USER)),
            admin=_bear(mint(user_id=33, username="root", role=Role.ADMIN)),
            anna_reading=_bear(anna(scopes=expand_scopes([Scope.READ]))),
        )


def _bear(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True, kw_only=True)
class Resource:
    """The rows of one noun. ``describe`` makes a valid body that is different for each number.

    ``links`` are values of columns that refer to other tables, ``fixed`` those that no change names.
    ``is_for_admins``: only admins may write.
    """

    client: httpx.AsyncClient
    database: Database
    accounts: Accounts
    path: str
    slug: str
    describe: Callable[[int], Row]
    links: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    fixed: Collection[str] = ()
    is_for_admins: bool = False
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    @property
    def writer(self) -> Headers:
        """Who writes rows, if a test does not say otherwise."""
        return self.accounts.admin if self.is_for_admins else self.accounts.anna

    def sent_by(self, client: httpx.AsyncClient, database: Database) -> "Resource":
        """The same noun on other connections."""
        return replace(self, client=client, database=database)

    def body(self, changes: Row | None = None) -> Row:
        """A body that has not been sent yet."""
        number = next(self.numbers)
        linked = {name: values[number % len(values)] for name, values in self.links.items()}
        return {**self.describe(number), **linked, **(changes or {})}

    def changeable(self, body: Row) -> Row:
        """The fields of a body that can be changed later."""
        return {name: value for name, value in body.items() if name not in self.fixed}

    async def send(
        self,
        method: str,
        row: Row | None = None,
        *,
        by: Headers | None = None,
        under: str = "",
        headers: Headers | None = None,
        **request: Any,  # noqa: ANN401 what the client takes
    ) -> httpx.Response:
        """A request to the address of a row, or of the whole list; ``under`` is what follows it."""
        address = f"{self.path}/{row['id']}{under}" if row else self.path
        sent = {**(self.writer if by is None else by), **(headers or {})}
        return await self.client.request(method, address, headers=sent, **request)

    async def add(self, changes: Row | None = None, *, by: Headers | None = None) -> Row:
        """The new row as the response shows it."""
        return read_row(await self.send("POST", by=by, json=self.body(changes)), 201)

    async def list_page(self, query: Row | None = None, *, by: Headers | None = None) -> Row:
        return read_row(await self.send("GET", by=by, params=query or {}))

    async def list_ids(self, query: Row | None = None, *, by: Headers | None = None) -> list[int]:
        """The ids of all rows of a list, page by page."""
        return [row["id"] for row in await self.list_all(query, by=by)]

    async def list_all(self, query: Row | None = None, *, by: Headers | None = None) -> list[Row]:
        page = await self.list_page(query, by=by)
        found: list[Row] = page["items"]
        while page["next"] is not None:
            page = await self.list_page({**(query or {}), "cursor": page["next"]}, by=by)
            found += page["items"]
        return found

    async def execute(self, statement: str, **values: object) -> None:
        async with self.database.writing() as connection:
            await connection.execute(text(statement), values)


def read_row(response: httpx.Response, status: int = 200) -> Row:
    assert response.status_code == status, response.text
    shown: Row = response.json()
    return shown


def assert_problem(response: httpx.Response, status: int, slug: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["type"] == slug


def assert_refused(response: httpx.Response, name: str) -> None:
    """A 422 that names this field of the body, or what is in it."""
    assert_problem(response, 422, "invalid-request")
    pointers = [error["pointer"] for error in response.json()["errors"]]
    place = f"#/body/{name}"
    assert any(pointer == place or pointer.startswith(f"{place}/") for pointer in pointers), pointers


async def plant(database: Database, part: Part, name: str) -> Sequence[int]:
    """Ids of rows of another noun, which its seeder makes with all that they need."""
    async with database.writing() as connection:
        for module in load_seeders(part, name).values():
            await module.seed(connection, count=_PARENTS)
        return await find_values(connection, place=f"{name}.id", most=_PARENTS)


def statuses(responses: Iterable[httpx.Response]) -> list[int]:
    return sorted(response.status_code for response in responses)
