"""DATABASE_URL: what libpq accepts is accepted, several hosts included, and no message quotes a part of a password."""

import os
from typing import ClassVar

import pytest
from kpi_shared.database import Database
from kpi_shared.database_url import connection_arguments, parse_database_url
from kpi_shared.parts import Part
from kpi_shared.settings import DatabaseSettings, SettingsError
from kpi_shared.testing.postgres import URL_VARIABLE
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import OperationalError


class Settings(DatabaseSettings):
    part: ClassVar[Part] = Part("sample", "package_that_is_not_there", 1)


ENCODED = {"user": "kpi", "password": "quiet", "host": "db", "dbname": "kpi"}


@pytest.mark.parametrize(
    ("url", "parameters"),
    [
        ("postgresql://kpi:quiet@db/kpi", ENCODED),
        ("postgres://kpi:quiet@db:5433/kpi", {**ENCODED, "port": "5433"}),
        ("postgresql+psycopg://kpi:quiet@db/kpi?sslmode=require", {**ENCODED, "sslmode": "require"}),
        ("postgresql://kpi:a%40b%2Fc@db/kpi", {**ENCODED, "password": "a@b/c"}),
        ("postgresql://kpi:a:b?c#d[e@db/kpi", {**ENCODED, "password": "a:b?c#d[e"}),
        ("postgresql://kpi%40server:quiet@db/kpi", {**ENCODED, "user": "kpi@server"}),
        ("postgresql://db/kpi?user=kpi@server&password=quiet", {**ENCODED, "user": "kpi@server"}),
        ("postgresql://kpi:quiet@[::1]:5432/kpi", {**ENCODED, "host": "::1", "port": "5432"}),
        ("postgresql:///kpi?host=/run/postgresql", {"host": "/run/postgresql", "dbname": "kpi"}),
        ("postgresql://%2Frun%2Fpostgresql/kpi", {"host": "/run/postgresql", "dbname": "kpi"}),
        (
            "postgresql://h1:1,h2:2/db?target_session_attrs=read-write",
            {"host": "h1,h2", "port": "1,2", "dbname": "db", "target_session_attrs": "read-write"},
        ),
        ("postgresql://kpi:quiet@h1,h2:2/kpi", {**ENCODED, "host": "h1,h2", "port": ",2"}),
    ],
)
def test_an_address_is_read_as_libpq_reads_it(url: str, parameters: dict[str, str]) -> None:
    assert parse_database_url(url) == parameters
    assert Settings(database_url=SecretStr(url)).database_url


@pytest.mark.parametrize("character", ["@", "/", "%", "@/", "/@", "?/", "/?", " ", "%00", "@1:", ":1/", "[/"])
@pytest.mark.parametrize("hosts", ["db", "db:5432", "db:1,db:2", "[::1]"])
def test_a_password_that_is_not_encoded_is_never_quoted(
    character: str, hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIG_DIR", os.devnull)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://kpi:Head{character}Zz-Tail@{hosts}/kpi")
    with pytest.raises(SettingsError, match=r"^DATABASE_URL: .* must be percent-encoded") as raised:
        Settings.load()
    assert "Head" not in str(raised.value)
    assert "Tail" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://db:abc/kpi", "port"),
        ("postgresql://db:0/kpi", "port"),
        ("postgresql://db:65536/kpi", "port"),
        ("postgresql://h1:1,h2:x/kpi", "port"),
        ("postgresql://h1,h2/kpi?port=1,2,3", "numbers of hosts and ports"),
        ("postgresql://db/kpi?host=a@b", "host"),
        ("postgresql://h1,h2,h3:1,2,3/kpi", "host"),
        ("postgresql://db/kpi?unknown=1", "not valid"),
        ("postgresql://db/?sslmode=require", "no database name"),
    ],
)
def test_an_invalid_address_is_refused_at_the_start(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_database_url(url)


def test_the_address_precedes_the_defaults_and_its_options_are_kept() -> None:
    url = "postgresql://db/kpi?connect_timeout=2&application_name=mine&options=-c%20search_path%3Dapp"
    found = connection_arguments(url, application_name="kpi-sample", options="-c timezone=UTC")
    assert (found["connect_timeout"], found["application_name"]) == ("2", "mine")
    assert found["options"] == "-c search_path=app -c timezone=UTC"


def _settings(attributes: str) -> Settings:
    """A server that does not listen, then the one of the tests."""
    server = conninfo_to_dict(os.environ[URL_VARIABLE])
    url = (
        f"postgresql://127.0.0.1:9,/{server['dbname']}?target_session_attrs={attributes}"
        f"&user={server['user']}&host=127.0.0.1,{server['host']}&port=9,{server.get('port', '')}"
    )
    return Settings(database_url=SecretStr(url))


@pytest.mark.anyio
async def test_the_first_of_several_hosts_that_listens_is_used() -> None:
    database = Database(_settings("read-write"))
    try:
        async with database.reading() as connection:
            assert await connection.scalar(text("SHOW application_name")) == "kpi-sample"
        async with database.writing() as connection:
            assert await connection.scalar(text("SHOW timezone")) == "UTC"
    finally:
        await database.close()


@pytest.mark.anyio
async def test_a_server_in_another_state_than_required_is_not_used() -> None:
    database = Database(_settings("standby"))
    try:
        with pytest.raises(OperationalError):
            async with database.reading():
                pass
    finally:
        await database.close()
