"""The commands of operators write the events of what they change, as requests do."""

import json

import pytest
from event_support import check_events, read_state
from kpi_auth.settings import AuthSettings
from kpi_shared.database import Database
from kpi_shared.testing.process import run_command

PASSWORD = "a quiet red bicycle"


@pytest.fixture
def environment(quiet_settings: AuthSettings, secret_key: str) -> dict[str, str]:
    return {
        "DATABASE_URL": quiet_settings.database_url.get_secret_value(),
        "PASETO_SECRET_KEY": secret_key,
        "ARGON2_MEMORY_KIB": "64",
        "ARGON2_TIME_COST": "1",
    }


async def test_each_command_writes_its_events(database: Database, environment: dict[str, str]) -> None:
    async def run(command: str, given: object) -> list[str]:
        async with database.reading() as connection:
            before = await read_state(connection)
            text = given if isinstance(given, str) else json.dumps(given)
            printed.append(run_command("kpi_auth", command, settings=environment, given=text))
            return await check_events(connection, before)

    printed: list[str] = []
    lines = "".join(json.dumps({"username": name}) + "\n" for name in ("anna", "berta"))
    assert await run("import-users", lines) == ["account.created"] * 2
    # Those that exist already are left as they are.
    assert await run("import-users", lines) == []
    assert await run("bootstrap", {"username": "root", "email": "root@example.com"}) == ["account.created"]
    assert await run("create-user", {"username": "clara", "password": PASSWORD}) == ["account.created"]
    key = {"username": "clara", "name": "a program", "scopes": "read"}
    assert await run("create-api-key", key) == []
    key_id = json.loads(printed[-1])["id"]
    assert await run("rotate-api-key", {"id": key_id}) == ["api_key.ended"]
    successor = json.loads(printed[-1])["id"]
    assert await run("revoke-api-key", {"id": successor}) == ["api_key.ended"]
    assert await run("reset-password", {"username": "clara", "password": f"{PASSWORD} too"}) == []
