"""Which databases are local, and which are dropped: the one that is named, and that is this service's."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kpi_shared import database_commands
from kpi_shared.database_commands import is_local
from kpi_shared.database_url import parse_database_url
from kpi_shared.parts import Part
from kpi_shared.settings import DatabaseSettings
from kpi_shared.testing.postgres import create_database
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

LOCAL = [
    "postgresql://u:p@127.0.0.1:5432/d",
    "postgresql://u:p@127.9.9.9/d",
    "postgresql://u:p@[::1]/d",
    "postgresql://u:p@localhost/d",
    "postgresql:///d?host=/run/postgresql",
    "postgresql:///d",
]
ELSEWHERE = [
    "postgresql://u:p@192.0.2.7/d",
    "postgresql://u:p@0.0.0.0/d",
    "postgresql://u:p@[2001:db8::1]/d",
    "postgresql://u:p@db.invalid/d",
    "postgresql://u:p@localhost.evil.invalid/d",
    "postgresql://u:p@127.0.0.1,192.0.2.7/d",
    "postgresql://u:p@127.0.0.1,127.0.0.1/d",
    "postgresql:///d?host=/run/postgresql,192.0.2.7",
    "postgresql://u:p@localhost/d?hostaddr=192.0.2.7",
    "postgresql://u:p@localhost/d?service=production",
    "postgresql://u:p@localhost/d?host=192.0.2.7",
]


@pytest.mark.parametrize("url", LOCAL)
def test_sockets_and_loopback_addresses_are_local(url: str) -> None:
    assert is_local(parse_database_url(url))


@pytest.mark.parametrize("url", ELSEWHERE)
def test_everything_else_is_not(url: str) -> None:
    assert not is_local(parse_database_url(url))


class Settings(DatabaseSettings):
    part = Part(name="content", package="kpi_content", port=1)


@pytest.fixture
def url(worker: str) -> str:
    """A database with a row that must stay."""
    url = create_database(f"begun_anew_{worker}")
    run(url, "CREATE TABLE customers (id) AS SELECT 1")
    return url


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def show(url: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert database_commands.show(Settings.part, Settings(database_url=SecretStr(url))) == 0
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def name_place(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: shown[name] for name in ("host", "port", "database", "user", "is_local")}


def refuse(url: str, request: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Why nothing is dropped; the row is still there."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(request.encode())))
    assert database_commands.renew(Settings.part, Settings(database_url=SecretStr(url))) == 1
    assert run(url, "SELECT * FROM customers") == [(1,)]
    return capsys.readouterr().err


@pytest.mark.parametrize("change", [None, [], {}, {"database": "other"}, {"port": None}])
def test_no_database_is_begun_anew_that_is_not_named(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: object
) -> None:
    place = name_place(show(url, capsys))
    request = place | {"is_of_stack": True} | change if isinstance(change, dict) and change else change
    said = refuse(url, "" if change is None else json.dumps(request), monkeypatch, capsys)
    where = f"{place['host']}:{place['port']}/{place['database']}"
    assert f"nothing is dropped: the settings name {where}, and standard input another place" in said


@pytest.mark.parametrize(
    ("revision", "reason"),
    [("a012", "a012 is no migration of content"), (None, "it has tables, and no migration of content")],
)
def test_what_another_program_has_made_is_not_dropped(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], revision: str | None, reason: str
) -> None:
    if revision:
        run(url, f"CREATE TABLE alembic_version (version_num) AS SELECT '{revision}'")
    shown = show(url, capsys)
    assert (shown["revision"], shown["mismatch"]) == (revision, reason)
    for by_downgrades in (True, False):
        request = json.dumps(name_place(shown) | {"by_downgrades": by_downgrades})
        assert refuse(url, request, monkeypatch, capsys) == f"kpi-content: nothing is dropped: {reason}\n"


def test_an_empty_database_and_an_extension_are_no_mismatch(worker: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = create_database(f"begun_anew_{worker}")
    assert show(url, capsys)["mismatch"] is None
    run(url, "CREATE VIEW of_extension AS SELECT 1; ALTER EXTENSION plpgsql ADD VIEW of_extension")
    assert show(url, capsys)["mismatch"] is None


def test_production_is_not_dropped_without_a_word(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APP_ENV", "production")
    shown = show(url, capsys)
    assert shown["environment"] == "production"
    request = name_place(shown) | {"is_of_stack": True}
    assert refuse(url, json.dumps(request), monkeypatch, capsys).endswith("APP_ENV is production\n")


def test_the_place_is_that_of_the_connection(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service file and the variables of libpq name what the address leaves out."""
    expected = name_place(show(url, capsys))
    given = conninfo_to_dict(url)
    file = tmp_path / "services"
    file.write_text("\n".join(["[prod]", *(f"{name}={value}" for name, value in given.items() if name != "dbname")]))
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    address = f"postgresql:///{given['dbname']}?service=prod"
    assert name_place(show(address, capsys)) == expected | {"is_local": False}
    monkeypatch.setenv("PGSERVICE", "prod")
    assert name_place(show(f"postgresql:///{given['dbname']}", capsys)) == expected | {"is_local": False}
    # What the address alone seems to say is no place that may be dropped.
    request = json.dumps(expected | {"host": "", "is_local": False})
    assert "standard input another place" in refuse(address, request, monkeypatch, capsys)
    monkeypatch.delenv("PGSERVICE")
    for name in ("host", "port", "user", "password"):
        if given.get(name):
            monkeypatch.setenv(f"PG{name.upper()}", str(given[name]))
    assert name_place(show(f"postgresql:///{given['dbname']}", capsys)) == expected
