"""What an installation gets that has not run its migration: an error that names it, and no event that is lost."""

import re

import psycopg
import pytest
from events_support import Case, Ear, OrderCreated, UserCreated, until
from kpi_kit.events import EventsSchemaError
from kpi_kit.events.drivers.postgresql import TABLES
from kpi_shared.testing.postgres import create_database

ANNA = UserCreated(name="Anna")
# Before groups had a time for which their events are kept.
OLD_TABLES = re.sub(r"ALTER TABLE kpi_events.groups ADD COLUMN.*", "", TABLES)


@pytest.mark.parametrize("tables", ["SELECT 1", OLD_TABLES], ids=["none", "old"])
async def test_tables_that_are_missing_or_old_are_an_error_until_the_migration_has_run(
    tables: str, worker: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = create_database(f"kit_events_tables_{worker}")
    case, ear = Case("postgresql", f"{url}&timeout=10" if "?" in url else f"{url}?timeout=10"), Ear()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(tables.encode())
    listening = case.build()
    listening.listen("*", ear)
    with pytest.raises(EventsSchemaError, match="TABLES in a migration"):
        await listening.__aenter__()
    async with case.build() as bus, await psycopg.AsyncConnection.connect(url) as other:
        with pytest.raises(EventsSchemaError):
            await bus.dispatch(ANNA)
        with pytest.raises(EventsSchemaError):
            await bus.dispatch_after_commit(ANNA, connection=other)
        caplog.clear()
        bus.listen("*", ear)
        with pytest.raises(EventsSchemaError):
            await bus.dispatch(ANNA)
        await until(lambda: "TABLES in a migration" in caplog.text)
        assert {record.levelname for record in caplog.records if record.name.startswith("kpi_kit")} == {"ERROR"}
        await other.rollback()
        await other.execute(TABLES.encode())
        await other.commit()
        await bus.dispatch(OrderCreated(number=1))
        await until(lambda: ear.heard == [OrderCreated(number=1)])
