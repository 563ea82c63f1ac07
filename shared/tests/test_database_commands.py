"""Which databases are local: what a command may delete without a further word."""

import io
import json
import sys
from dataclasses import asdict

import pytest
from kpi_shared import database_commands
from kpi_shared.database_commands import find_place
from kpi_shared.parts import Part
from kpi_shared.settings import DatabaseSettings
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


@pytest.fixture(autouse=True)
def _without_variables_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE", "PGSERVICEFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("url", LOCAL)
def test_sockets_and_loopback_addresses_are_local(url: str) -> None:
    assert find_place(url).is_local


@pytest.mark.parametrize("url", ELSEWHERE)
def test_everything_else_is_not(url: str) -> None:
    assert not find_place(url).is_local


@pytest.mark.parametrize(("name", "value"), [("PGHOST", "192.0.2.7"), ("PGHOSTADDR", "192.0.2.7"), ("PGSERVICE", "x")])
def test_variables_of_libpq_count(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert not find_place("postgresql:///d").is_local


def test_a_host_in_the_address_precedes_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "192.0.2.7")
    place = find_place("postgresql://u:p@127.0.0.1:6000/d")
    assert asdict(place) == {"host": "127.0.0.1", "port": "6000", "database": "d", "user": "u", "is_local": True}


class Settings(DatabaseSettings):
    part = Part(name="content", package="kpi_content", port=1)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "[]",
        "{}",
        json.dumps({"host": "127.0.0.1", "port": "1", "database": "other", "user": "u", "is_local": True}),
        json.dumps({"host": "127.0.0.1", "port": "1", "database": "d", "user": "u"}),
    ],
)
def test_no_database_is_begun_anew_that_is_not_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
    settings = Settings(database_url=SecretStr("postgresql://u:secret@127.0.0.1:1/d"))
    assert database_commands.renew(Settings.part, settings) == 1
    said = capsys.readouterr().err
    assert "nothing is dropped: the settings name 127.0.0.1:1/d, and standard input another place" in said
    assert "secret" not in said
