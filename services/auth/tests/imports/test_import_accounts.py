"""Accounts of another system are moved in, by the real program."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from io import BytesIO, TextIOWrapper
from typing import Any, Self

import bcrypt
import psycopg
import pytest
from auth_support import PASSWORD, Accounts, empty
from fastapi import FastAPI
from kpi_auth.accounts import import_repository as staging
from kpi_auth.commands import RefusedError
from kpi_auth.hashing.hasher import functions_of
from kpi_auth.imports import console, service
from kpi_auth.imports.console import move_in
from kpi_auth.imports.schemas import ImportOptions, Totals
from kpi_auth.settings import AuthSettings
from kpi_shared.caller import Role
from kpi_shared.testing.client import client_of
from kpi_shared.testing.process import clean_environment

BCRYPT = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
PBKDF2 = "pbkdf2_sha256$390000$seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c="
BORN = "2015-09-06T05:56:00Z"


@pytest.fixture
async def shared(running_app: FastAPI) -> AsyncIterator[Accounts]:
    async with client_of(running_app) as client:
        yield Accounts(running_app, client)
    await empty(running_app.state.database)


class Import:
    """What one import of some lines has reported; each line has its number, unless it is a text."""

    def __init__(self) -> None:
        self.printed: list[Mapping[str, object]] = []
        self.totals = Totals()

    @property
    def problems(self) -> dict[Any, Any]:
        return {line["line"]: line["problem"] for line in self.printed if "problem" in line}

    @classmethod
    async def run(
        cls, settings: AuthSettings, lines: list[Any], *, announced: int | None = None, **options: bool
    ) -> Self:
        done = cls()
        encoded = [
            line if isinstance(line, str) else json.dumps({"line": number, **line})
            for number, line in enumerate(lines, start=1)
        ]
        given = (line.encode() for line in encoded)
        chosen = ImportOptions(lines=len(lines) if announced is None else announced, **options)
        done.totals = await move_in(settings, chosen, given, report=done.printed.append)
        return done

    def check(self, *, read: int, added: int = 0, unchanged: int = 0, refused: int = 0, stored: bool = True) -> None:
        expected = Totals(read=read, added=added, unchanged=unchanged, refused=refused, stored=stored)
        assert self.totals.model_copy(update={"without_password": 0}) == expected, self.printed


async def rows(accounts: Accounts) -> list[dict[str, Any]]:
    found = await accounts.scalar(
        "SELECT coalesce(json_agg(json_build_object('username', username, 'email', email, 'role', role, 'signs_in',"
        " email_signs_in, 'verified', email_verified_at, 'hash', password_hash, 'born', created_at) ORDER BY id),"
        " '[]') FROM users"
    )
    return list(found)  # type: ignore[call-overload]


async def test_an_imported_account_signs_in_with_its_old_password_and_gets_a_new_hash(
    shared: Accounts, settings: AuthSettings
) -> None:
    line = {"username": "Anna", "email": "Anna@Example.com", "hash": BCRYPT, "created_at": BORN, "verified": "t"}
    (await Import.run(settings, [line])).check(read=1, added=1)
    [stored] = await rows(shared)
    assert (stored["username"], stored["email"], stored["role"]) == ("Anna", "anna@example.com", "user")
    assert (stored["hash"], stored["signs_in"]) == (BCRYPT, True)
    assert stored["born"].startswith("2015-09-06T05:56:00")
    assert stored["verified"] == stored["born"]
    assert await shared.sign_in("anna", "another password") is None
    assert (await rows(shared))[0]["hash"] == BCRYPT
    assert await shared.sign_in("anna@example.com", PASSWORD)
    renewed = (await rows(shared))[0]["hash"]
    assert renewed.startswith("$argon2id$")
    assert await shared.sign_in("anna", PASSWORD)
    assert (await rows(shared))[0]["hash"] == renewed


async def test_a_second_run_changes_nothing(shared: Accounts, settings: AuthSettings) -> None:
    lines = [
        {"username": "anna", "email": "anna@example.com", "hash": BCRYPT, "verified": True},
        {"username": "ben", "hash": PBKDF2},
        {"email": "cleo@example.com", "hash": BCRYPT},
        # Its name is that of another line: it gets a suffix.
        {"email": "anna@elsewhere.example", "hash": "", "verified": "2020-01-01 00:00:00+00"},
    ]
    (await Import.run(settings, lines)).check(read=4, added=4)
    before = await rows(shared)
    assert [row["username"] for row in before][:3] == ["anna", "ben", "cleo"]
    assert before[3]["username"].startswith("anna-")
    assert (before[3]["hash"], before[3]["verified"][:10]) == (None, "2020-01-01")
    assert await shared.sign_in("anna", PASSWORD)
    (await Import.run(settings, lines)).check(read=4, unchanged=4)
    after = await rows(shared)
    assert after[0].pop("hash") != before[0].pop("hash")
    assert after == before
    # What has changed here since stays as it is.
    await shared.execute("UPDATE users SET role = 'admin', is_active = false WHERE username = 'anna'")
    (await Import.run(settings, lines)).check(read=4, unchanged=4)
    assert (await rows(shared))[0]["role"] == "admin"
    # An account whose name or address has changed since is found again: no second one with the old hash is added.
    await shared.execute("UPDATE users SET username = 'new-' || id, email = 'new-' || email, deleted_at = now()")
    (await Import.run(settings, lines)).check(read=4, unchanged=4)


async def test_an_account_that_was_here_before_is_known_by_its_line_as_well(
    shared: Accounts, settings: AuthSettings
) -> None:
    await shared.add("anna")
    line = {"email": "anna@example.com", "hash": BCRYPT}
    (await Import.run(settings, [line])).check(read=1, unchanged=1)
    await shared.execute("UPDATE users SET email = 'moved@example.com'")
    (await Import.run(settings, [line])).check(read=1, unchanged=1)


async def test_each_account_has_an_event_and_a_record(shared: Accounts, settings: AuthSettings) -> None:
    lines = [{"username": "anna"}, {"username": "root", "role": "admin"}]
    (await Import.run(settings, lines, admins=True)).check(read=2, added=2)
    written = await shared.scalar(
        "SELECT json_agg(json_build_array(type, schema_version, data) ORDER BY id) FROM events"
        " WHERE type LIKE 'account.%'"
    )
    states = [
        {"username": name, "role": role, "is_active": True, "is_deleted": False, "version": 1}
        for name, role in (("anna", "user"), ("root", "admin"))
    ]
    assert [(kind, version) for kind, version, _ in written] == [("account.created", 1)] * 2  # type: ignore[attr-defined]
    ids = [data.pop("id") for _, _, data in written]  # type: ignore[attr-defined]
    assert [data for _, _, data in written] == states  # type: ignore[attr-defined]
    recorded = await shared.scalar(
        "SELECT json_agg(json_build_array(event, subject_id, actor_id, user_agent, details) ORDER BY id)"
        " FROM audit_events"
    )
    assert recorded == [
        ["user.created", user_id, None, "kpi", {"role": role, "imported": True}]
        for user_id, role in zip(ids, ("user", "admin"), strict=True)
    ]


BAD = {
    "a hash of an unknown form": ({"username": "a", "hash": "5f4dcc3b5aa765d61d8327deb882cf99"}, "hash: the form"),
    "bcrypt of cost 31": ({"username": "a", "hash": BCRYPT.replace("$04$", "$31$")}, "hash: the bcrypt cost of the"),
    "PBKDF2 of a billion": ({"username": "a", "hash": PBKDF2.replace("390000", "1000000000")}, "hash: the PBKDF2 cost"),
    "argon2 of 4 GiB": (
        {"username": "a", "hash": "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEg"},
        "hash: the argon2 memory",
    ),
    "a blank in the name": ({"username": "a b"}, "username: "),
    "a long name": ({"username": "a" * 33}, "username: "),
    "no address": ({"username": "a", "email": "nothing"}, "email: "),
    "neither": ({"hash": BCRYPT}, "a username or an e-mail address is required"),
    "no time": ({"username": "a", "created_at": "yesterday"}, "created_at: a time such as"),
    "milliseconds of the year 5138": ({"email": "a@b.example", "verified": 9999999999999}, "verified: a time between"),
    "two is no truth value": ({"email": "a@b.example", "verified": 2}, "verified: a time such as"),
    "the future": ({"username": "a", "created_at": "2999-01-01"}, "created_at: a time between 1970 and now"),
    "an unknown role": ({"username": "a", "role": "root"}, "role: "),
    "an admin": ({"username": "a", "role": "admin"}, "role: an admin is imported only if"),
    "a superuser": ({"username": "a", "role": "t"}, "role: an admin is imported only if"),
    "verified nothing": ({"username": "a", "verified": True}, "an account without an e-mail address cannot"),
    "an unknown field": ({"username": "a", "is_active": True}, "is_active: "),
    "no JSON": ("{", "Invalid JSON"),
    "no object": ("[7]", ""),
    "unreadable": ({"unreadable": "it has fewer fields than the header"}, "it has fewer fields"),
}


async def test_each_bad_line_is_named_and_nothing_is_stored(settings: AuthSettings) -> None:
    lines = [line for line, _ in BAD.values()]
    done = await Import.run(settings, [*lines, {"username": "fine"}])
    done.check(read=len(BAD) + 1, added=1, refused=len(BAD), stored=False)
    assert list(done.problems) == list(range(1, len(BAD) + 1))
    for (name, (_, expected)), problem in zip(BAD.items(), done.problems.values(), strict=True):
        assert problem.startswith(expected), (name, problem)
    # No hash is quoted.
    assert BCRYPT[7:] not in str(done.printed)
    assert PBKDF2[-20:] not in str(done.printed)


async def test_conflicts_are_named_by_line(shared: Accounts, settings: AuthSettings) -> None:
    await shared.add("anna")
    await shared.add("squatter", verified=False)
    await shared.add("stranger", verified=False)
    lines = [
        {"username": "ANNA", "email": "another@example.com"},
        {"username": "bee", "email": "anna@example.com"},
        # An account that was here has this address and has not verified it: it may belong to another person.
        {"username": "squatter", "email": "squatter@example.com", "verified": True},
        {"username": "cleo", "email": "cleo@example.com"},
        {"username": "Cleo", "email": "cleo@elsewhere.example"},
        {"username": "dora", "email": "cleo@example.com"},
        {"username": "anna", "email": "anna@example.com"},
        {"username": "emil", "email": "squatter@example.com", "verified": True},
        # Its hash would be left out without a word.
        {"email": "stranger@example.com", "hash": BCRYPT},
    ]
    done = await Import.run(settings, lines)
    assert done.problems == {
        1: "username: an account with this name has another e-mail address, or none",
        2: "email: another account has this address",
        3: "username: the account with this name has not verified the address",
        5: "username: line 4 has the same name",
        6: "email: line 4 has the same address",
        7: "email: line 2 has the same address",
        8: "email: line 3 has the same address",
        9: "email: an account here has this address and has not verified it",
    }
    done.check(read=9, added=1, refused=8, stored=False)
    assert len(await rows(shared)) == 3
    (await Import.run(settings, lines, keep_going=True)).check(read=9, added=1, refused=8)
    assert [row["username"] for row in await rows(shared)] == ["anna", "squatter", "stranger", "cleo"]
    (await Import.run(settings, [lines[7], lines[6]])).check(read=2, added=1, unchanged=1)


async def import_beside_a_registration(shared: Accounts, settings: AuthSettings, *, names: list[str]) -> None:
    """The last of the names is registered after all have been judged."""
    reader = service.Reader(settings, functions_of(settings), ImportOptions(lines=len(names)))
    lines = [json.dumps({"line": number, "username": name}).encode() for number, name in enumerate(names, start=1)]
    async with shared.app.state.database.writing() as connection:
        await service.stage_all(connection, reader, lines, report=print)
        totals, _ = await service.judge_all(connection, reader)
        assert totals.added == len(names)
        await shared.add(names[-1])
        await service.add_all(connection, totals, report=print)


async def test_a_name_that_is_registered_meanwhile_undoes_the_import(shared: Accounts, settings: AuthSettings) -> None:
    with pytest.raises(RefusedError, match="registered meanwhile"):
        await import_beside_a_registration(shared, settings, names=["anna", "ben"])
    assert [row["username"] for row in await rows(shared)] == ["ben"]


async def test_a_dry_run_stores_nothing(shared: Accounts, settings: AuthSettings) -> None:
    lines = [{"username": "anna"}, {"username": "b c"}]
    (await Import.run(settings, lines, dry_run=True, keep_going=True)).check(read=2, added=1, refused=1, stored=False)
    assert await rows(shared) == []


async def test_an_admin_is_imported_if_that_is_allowed(shared: Accounts, settings: AuthSettings) -> None:
    line = {"username": "root", "role": "Admin", "hash": BCRYPT}
    (await Import.run(settings, [line], admins=True)).check(read=1, added=1)
    session = await shared.enter("root")
    assert shared.app.state.tokens.verify(session.token).role is Role.ADMIN


async def test_an_account_without_a_usable_hash_has_no_password(shared: Accounts, settings: AuthSettings) -> None:
    lines = [{"username": "anna", "email": "anna@example.com", "hash": "!Aq1unusable", "verified": True}]
    done = await Import.run(settings, lines)
    assert (done.totals.added, done.totals.without_password) == (1, 1)
    assert (await rows(shared))[0]["hash"] is None
    assert await shared.sign_in("anna", "!Aq1unusable") is None


async def test_only_the_first_problems_are_listed(settings: AuthSettings) -> None:
    done = await Import.run(settings, [{"username": "not valid"}] * 150)
    done.check(read=150, refused=150, stored=False)
    assert list(done.problems) == list(range(1, 101))


def run_program(settings: AuthSettings, given: str) -> "subprocess.CompletedProcess[str]":
    environment = clean_environment(
        {
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "PASETO_SECRET_KEY": settings.paseto_secret_key.get_secret_value(),
        }
    )
    command = [sys.executable, "-m", "kpi_auth", "import-accounts"]
    return subprocess.run(command, env=environment, input=given, capture_output=True, text=True, check=False)


def test_the_program_prints_json_lines_and_its_exit_code_says_that_lines_were_refused(settings: AuthSettings) -> None:
    lines = '{"line": 7, "username": "a b"}\n{"line": 8, "username": "c"}\n'
    result = run_program(settings, '{"lines": 2, "dry_run": true}\n' + lines)
    assert result.returncode == 3, result.stderr
    *_, problem, totals = map(json.loads, result.stdout.splitlines())
    assert (problem["line"], totals["refused"], totals["added"], totals["stored"]) == (7, 1, 1, False)


def test_options_with_a_mistake_are_one_sentence(settings: AuthSettings) -> None:
    result = run_program(settings, '{"admin": true, "lines": 0}')
    assert (result.returncode, result.stdout) == (1, "")
    expected = "the first line must be a JSON object of options: lines, dry_run, keep_going, admins"
    assert result.stderr == f"kpi-auth: {expected}\n"
    with pytest.raises(RefusedError, match="options: lines"):
        console._read_options(b"{}")


def gone(*_: object) -> None:
    raise psycopg.OperationalError("the connection is closed")


def test_a_database_that_goes_while_lines_are_copied_is_one_sentence(
    settings: AuthSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = b'{"lines": 1}\n{"line": 1, "username": "a"}\n'
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(lines)))
    monkeypatch.setattr(staging, "stage", gone)
    # It would stay for the tests that follow.
    monkeypatch.setattr(console, "configure_logging", lambda **_: None)
    assert console.import_accounts(settings) == 1
    assert capsys.readouterr().err == "kpi-auth: the connection is closed\n"


async def test_a_cut_input_and_lines_out_of_order_store_nothing(shared: Accounts, settings: AuthSettings) -> None:
    with pytest.raises(RefusedError, match="2 of 3 lines arrived"):
        await Import.run(settings, [{"username": "anna"}, {"username": "b c"}], announced=3, keep_going=True)
    with pytest.raises(RefusedError, match="line 1 comes after line 1"):
        await Import.run(settings, [{"username": "anna", "line": 1}, {"username": "ben", "line": 1}])
    assert (await Import.run(settings, [{"username": "anna", "line": 10**22}])).totals.refused == 1
    assert await rows(shared) == []


async def test_one_import_runs_at_a_time(shared: Accounts, settings: AuthSettings) -> None:
    async with shared.app.state.database.writing() as connection:
        assert await staging.take_turn(connection)
        with pytest.raises(RefusedError, match="another import is running"):
            await Import.run(settings, [{"username": "anna"}])
    (await Import.run(settings, [{"username": "anna"}])).check(read=1, added=1)


async def test_many_addresses_with_one_beginning_get_names_of_their_own(
    shared: Accounts, settings: AuthSettings
) -> None:
    lines = [{"email": f"info@d{number}.example"} for number in range(3000)]
    done = await Import.run(settings, [{"email": "info-x@d.example"}, *lines], dry_run=True)
    done.check(read=3001, added=3001, stored=False)
    # A name that the file gives comes before one that is made, wherever it stands.
    made = {"email": "info@d1.example"}
    (await Import.run(settings, [{"email": "info@d0.example"}, made, {"username": "INFO"}])).check(read=3, added=3)
    names = [row["username"] for row in await rows(shared)]
    assert (names[0][:5], names[1][:5], names[2]) == ("info-", "info-", "INFO")


async def test_times_are_read_alike_from_text_and_number(shared: Accounts, settings: AuthSettings) -> None:
    forms = (1693526400, "1693526400", 1693526400000, " 2023-09-01 00:00:00+00 ")
    lines = [
        {"username": f"user{number}", "email": f" {number}@x.example", "created_at": form, "verified": form}
        for number, form in enumerate(forms)
    ]
    (await Import.run(settings, lines)).check(read=4, added=4)
    found = await rows(shared)
    assert {(row["born"][:19], row["verified"][:19]) for row in found} == {("2023-09-01T00:00:00",) * 2}
