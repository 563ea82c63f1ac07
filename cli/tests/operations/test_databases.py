"""``kpi db`` with the real services, on databases of their own that DATABASE_URL names."""

import io
import json
import os
import sys
from pathlib import Path

import psycopg
import pytest
from kpi_cli import parts
from kpi_cli.errors import FailureError
from kpi_cli.layout import find
from kpi_cli.operations import database_changes, seeding
from kpi_cli.operations.service_databases import Consent, ServiceDatabase
from kpi_cli.stack import postgres
from kpi_shared.testing.postgres import create_migrated_database

YES = Consent(yes=True, remote=False)
ASKING = Consent(yes=False, remote=False)


@pytest.fixture
def url(worker: str, monkeypatch: pytest.MonkeyPatch) -> str:
    url = create_migrated_database("kpi_content", f"cli_db_{worker}")
    monkeypatch.setenv("DATABASE_URL", url)
    return url


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def name_of(url: str) -> str:
    return psycopg.conninfo.conninfo_to_dict(url)["dbname"]


def printed(capsys: pytest.CaptureFixture[str]) -> object:
    return json.loads(capsys.readouterr().out)


def test_a_database_is_shown_rolled_back_and_migrated(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    database_changes.rollback(find(), "content", steps=2, consent=YES, as_json=True)
    output = capfd.readouterr()
    # Of Alembic's own lines, those that say what is undone.
    asked, *undone = output.err.splitlines()
    assert [line.split()[:2] for line in undone] == [["Running", "downgrade"]] * 2
    # A yes skips the question, and not the name of what is changed.
    named = f"migrations, and deletes what they have made, in content: database {name_of(url)} at "
    assert f"kpi: this undoes the newest 2 {named}" in asked
    (done,) = json.loads(output.out)
    assert done["service"] == "content"
    database_changes.print_status(find(), "content", as_json=True)
    (shown,) = json.loads(capfd.readouterr().out)
    assert (shown["revision"], shown["newest"]) == (done["to"], done["from"])
    assert [each["revision"] for each in shown["pending"]][-1] == shown["newest"]
    assert len(shown["pending"]) == 2
    database_changes.migrate(find(), "content", as_json=True)
    assert [each["to"] for each in json.loads(capfd.readouterr().out)] == [shown["newest"]]
    with pytest.raises(FailureError, match="99 migrations cannot be undone: it has"):
        database_changes.rollback(find(), "content", steps=99, consent=YES, as_json=True)


def test_a_database_begun_anew_is_empty_and_gives_no_number_twice(url: str) -> None:
    add = "INSERT INTO posts (owner_id, title, content) VALUES (1, 'x', '') RETURNING id"
    ids = []
    for by_downgrades in (True, False):
        run(url, "INSERT INTO authors (id, username) VALUES (1, 'anna')")
        ids += run(url, add)
        # A rollback leaves what no migration has made.
        run(url, "CREATE TABLE IF NOT EXISTS left_over (id bigint)")
        database_changes.renew(find(), "content", by_downgrades=by_downgrades, consent=YES, as_json=True)
        is_left = run(url, "SELECT to_regclass('left_over') IS NOT NULL, (SELECT count(*) FROM posts)")
        assert is_left == [(by_downgrades, 0)]
    run(url, "INSERT INTO authors (id, username) VALUES (1, 'anna')")
    # Running parts remember some rows by their numbers.
    ids += run(url, add)
    assert ids == sorted(set(ids))


def test_nothing_is_deleted_without_a_yes(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(url, "INSERT INTO authors (id, username) VALUES (1, 'anna')")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(FailureError) as caught:
        database_changes.renew(find(), "content", by_downgrades=False, consent=ASKING, as_json=True)
    assert (caught.value.sentence, caught.value.fix, caught.value.code) == (
        "nothing was changed: standard input is no terminal to ask at",
        "add --yes",
        2,
    )
    output = capsys.readouterr()
    assert f"this deletes all data in content: database {name_of(url)} at " in output.err
    assert output.out == ""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    with pytest.raises(FailureError, match="nothing was changed"):
        database_changes.renew(find(), "content", by_downgrades=False, consent=ASKING, as_json=True)
    assert run(url, "SELECT count(*) FROM authors") == [(1,)]


def test_a_database_elsewhere_needs_its_own_word(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The same database, but by an address that could be anything.
    host = psycopg.conninfo.conninfo_to_dict(url)["host"]
    monkeypatch.setenv("DATABASE_URL", f"{url}{'&' if '?' in url else '?'}host={host},{host}")
    for change in (
        lambda: database_changes.renew(find(), "content", by_downgrades=False, consent=YES, as_json=True),
        lambda: database_changes.rollback(find(), "content", steps=1, consent=YES, as_json=True),
        lambda: seeding.seed(find(), request(remote=False), as_json=True),
    ):
        with pytest.raises(FailureError, match="may not be on this machine; nothing was changed") as caught:
            change()
        assert caught.value.fix.startswith("add --yes-remote")
    seeding.seed(find(), request(remote=True), as_json=True)
    assert run(url, "SELECT count(*) FROM posts") == [(2,)]


def test_another_services_database_is_named_as_that_and_not_dropped(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(url, "INSERT INTO authors (id, username) VALUES (1, 'anna')")
    (revision,) = run(url, "SELECT version_num FROM alembic_version")[0]
    database_changes.print_status(find(), "auth", as_json=False)
    assert f"kpi: auth: {revision} is no migration of auth\n" in capsys.readouterr().out
    for change in (
        lambda: database_changes.renew(find(), "auth", by_downgrades=False, consent=YES, as_json=True),
        lambda: database_changes.rollback(find(), "auth", steps=1, consent=YES, as_json=True),
    ):
        with pytest.raises(FailureError, match=f"{revision} is no migration of auth; nothing was changed"):
            change()
    assert run(url, "SELECT count(*) FROM authors") == [(1,)]


def test_production_needs_its_own_word(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APP_ENV", "production")
    with pytest.raises(FailureError, match="APP_ENV is production for content: database") as caught:
        database_changes.renew(find(), "content", by_downgrades=False, consent=YES, as_json=True)
    assert caught.value.fix.startswith("add --allow-production")
    allowed = Consent(yes=True, remote=False, production=True)
    database_changes.renew(find(), "content", by_downgrades=False, consent=allowed, as_json=False)
    output = capsys.readouterr()
    assert f"kpi: this deletes all data in content: database {name_of(url)} at " in output.err
    assert output.out.startswith(f"kpi: content: {name_of(url)} at ")


def test_what_a_rollback_deletes_is_said_in_the_right_number() -> None:
    assert database_changes.describe_rollback(1).endswith("migration, and deletes what it has made, in")


def request(*, remote: bool) -> seeding.SeedRequest:
    return seeding.SeedRequest(service="content", seeder="posts", count=2, allow_production=False, remote=remote)


def test_seeding_says_what_it_has_added(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    seeding.seed(find(), request(remote=False), as_json=True)
    assert printed(capsys) == [{"service": "content", "added": {"authors": 2, "posts": 2}, "notes": []}]
    seeding.seed(find(), request(remote=False), as_json=False)
    assert capsys.readouterr().out == "kpi: content: authors: nothing to add\nkpi: content: posts: nothing to add\n"


def test_psql_opens_the_database_of_the_service(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        database_changes.open_shell(find(), "content", ["-Atc", "SELECT current_database()"], as_json=False)
    assert (ended.value.code, capfd.readouterr().out) == (0, f"{name_of(url)}\n")


def test_psql_gets_all_of_the_address_but_no_secret_as_an_argument(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "psql"
    program.write_text('#!/bin/sh\necho "$PGPASSWORD $PGCHANNELBINDING"\nprintf \'%s\\n\' "$@"\n')
    program.chmod(0o755)
    given = "postgresql://u:topsecret@h1/d?channel_binding=disable&keepalives=0&require_auth=scram-sha-256"
    database = _open(given)
    assert database_changes.run_psql(str(program), ["-c", "x"], database) == 0
    secret, address, *arguments = capfd.readouterr().out.splitlines()
    assert secret == "topsecret disable"
    keywords = psycopg.conninfo.conninfo_to_dict(address.removeprefix("--dbname="))
    assert keywords == {
        name: value for name, value in psycopg.conninfo.conninfo_to_dict(given).items() if name != "password"
    }
    assert arguments == ["-c", "x"]
    with pytest.raises(FailureError, match="psql can be given sslpassword only as an argument"):
        database_changes.run_psql(str(program), [], _open("postgresql://u@h1/d?sslpassword=topsecret"))


def test_no_variable_leads_psql_to_another_server(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    database = _open(url)
    (tmp_path / "services").write_text("[prod]\ndbname=other\nhost=192.0.2.7\nport=1\n")
    # The stack's own services do not have these variables of the shell.
    for name, value in {"PGSERVICE": "prod", "PGSERVICEFILE": str(tmp_path / "services"), "PGHOSTADDR": "::"}.items():
        monkeypatch.setenv(name, value)
    psql = database_changes.find_psql()
    assert database_changes.run_psql(psql, ["-Atc", "SELECT current_database()"], database) == 0
    assert capfd.readouterr().out == f"{name_of(url)}\n"
    # Nor does a service file that the service itself uses precede its address.
    (tmp_path / "services").write_text("[prod]\ndbname=other\nhost=192.0.2.7\n")
    database.environment["PGSERVICE"] = "prod"
    database.environment["PGSERVICEFILE"] = str(tmp_path / "services")
    assert database_changes.run_psql(psql, ["-Atc", "SELECT current_database()"], database) == 0
    assert capfd.readouterr().out == f"{name_of(url)}\n"


def _open(url: str) -> ServiceDatabase:
    """Without the process that would show it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    part = parts.get_or_raise("content")
    environment["DATABASE_URL"] = url
    return ServiceDatabase(part=part, environment=environment, shown={}, ports=None, is_in_use=False)


def test_arguments_of_psql_that_would_be_ignored_are_refused() -> None:
    with pytest.raises(FailureError, match="runs no psql that would get these arguments") as caught:
        database_changes.open_shell(find(), "content", ["-c", "SELECT 1"], as_json=True)
    assert caught.value.code == 2


def test_a_missing_psql_is_one_sentence(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(postgres, "programs", lambda: Path("/nonexistent"))
    with pytest.raises(FailureError, match="psql, the command-line client of PostgreSQL, is not installed"):
        database_changes.open_shell(find(), "content", [], as_json=False)


def test_no_message_has_a_password(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:topsecret@127.0.0.1:1/d")
    with pytest.raises(FailureError) as caught:
        database_changes.print_status(find(), "content", as_json=False)
    output = capsys.readouterr()
    assert "topsecret" not in "".join(caught.value.lines()) + output.out + output.err
    assert "cannot be reached" in caught.value.sentence


@pytest.mark.parametrize(
    ("service", "sentence"),
    [(None, "DATABASE_URL names one database"), ("gateway", "it has no database"), ("nope", "there is no such part")],
)
def test_what_cannot_be_meant_is_one_sentence(monkeypatch: pytest.MonkeyPatch, service: str, sentence: str) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@127.0.0.1:1/d")
    with pytest.raises(FailureError, match=sentence) as caught:
        database_changes.print_status(find(), service, as_json=False)
    assert caught.value.code == 2
