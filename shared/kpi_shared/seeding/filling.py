"""What most seeders do: bring a table to a number of rows that a factory makes."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_shared.seeding import repository
from kpi_shared.seeding.errors import SeedingError
from kpi_shared.seeding.factories import NumberedFactory

# Rows refer to so many others at most: a hundred authors make a list look like one.
_MOST_OTHERS = 1_000


async def fill(
    connection: AsyncConnection,
    model: type,
    factory: type[NumberedFactory[Any]],
    *,
    count: int,
    links: Mapping[str, str | Sequence[Any]] | None = None,
) -> int:
    """Add rows until the table has ``count``, and return how many were added.

    ``links`` says which values a column takes in turn: ``{"post_id": "posts.id"}`` those of another table, or some that
    are given, for what is in another service's database.
    """
    number = await repository.count_rows(connection, model)
    if number >= count:
        return 0
    factory.last_number = await repository.find_highest_id(connection, model)
    others = {name: await _find_others(connection, given) for name, given in (links or {}).items()}
    rows = [_make_row(factory, others, turn) for turn in range(count - number)]
    return await repository.add_rows(connection, model, rows)


async def _find_others(connection: AsyncConnection, given: str | Sequence[Any]) -> Sequence[Any]:
    if not isinstance(given, str):
        return given
    found = await repository.find_values(connection, place=given, most=_MOST_OTHERS)
    if not found:
        name = given.partition(".")[0]
        raise SeedingError(f"there are no {name} to refer to: seed them first")
    return found


def _make_row(factory: type[NumberedFactory[Any]], others: Mapping[str, Sequence[Any]], turn: int) -> dict[str, object]:
    """The columns of one row: what a client would send, and what the service adds, such as the owner."""
    linked = {name: values[turn % len(values)] for name, values in others.items()}
    fields = factory.__model__.model_fields
    sent: BaseModel = factory.build(**{name: value for name, value in linked.items() if name in fields})
    return sent.model_dump() | linked
