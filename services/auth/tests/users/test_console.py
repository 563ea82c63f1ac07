"""The commands of operators, as real processes."""

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from auth_support import ALL_FIELDS, PASSWORD, Accounts, empty
from fastapi import FastAPI
from kpi_auth.commands import RefusedError, read
from kpi_auth.settings import AuthSettings
from kpi_auth.users import console as console_commands
from kpi_auth.users.console import CreateUser, ListUsers, ResetPassword
from kpi_shared.caller import Role
from kpi_shared.database import Database
from kpi_shared.testing.client import client_of
from kpi_shared.testing.process import clean_environment


@pytest.fixture
async def shared(running_app: FastAPI) -> AsyncIterator[Accounts]:
    """Committed accounts, which other processes see; they are deleted after the test."""
    async with client_of(running_app) as client:
        yield Accounts(running_app, client)
    await empty(running_app.state.database)


class Console:
    def __init__(self, settings: AuthSettings, **more: str) -> None:
        self._environment = clean_environment(
            {
                "DATABASE_URL": settings.database_url.get_secret_value(),
                "PASETO_SECRET_KEY": settings.paseto_secret_key.get_secret_value(),
                "MAIL_URL": settings.mail_url.get_secret_value() if settings.mail_url else "",
                "ARGON2_MEMORY_KIB": "64",
                "ARGON2_TIME_COST": "1",
                **more,
            }
        )

    def run(self, command: str, **fields: object) -> "subprocess.CompletedProcess[str]":
        return self.run_with(command, json.dumps(fields))

    def run_with(self, command: str, given: str) -> "subprocess.CompletedProcess[str]":
        line = [sys.executable, "-m", "kpi_auth", command]
        return subprocess.run(line, env=self._environment, input=given, capture_output=True, text=True, check=False)

    def result(self, command: str, **fields: object) -> dict[str, Any]:
        result = self.run(command, **fields)
        assert result.returncode == 0, result.stderr
        listed: dict[str, Any] = json.loads(result.stdout)
        return listed

    def refusal(self, command: str, **fields: object) -> str:
        result = self.run(command, **fields)
        assert (result.returncode, result.stdout) == (1, ""), result
        [sentence] = result.stderr.splitlines()
        return sentence


@pytest.fixture
def console(settings: AuthSettings) -> Console:
    return Console(settings)


async def test_an_operator_creates_an_admin_who_signs_in(shared: Accounts, console: Console) -> None:
    created = console.result("create-user", username="Boss", email="Boss@Example.com", password=PASSWORD, role="admin")
    assert set(created) == ALL_FIELDS
    assert (created["username"], created["email"], created["role"]) == ("Boss", "boss@example.com", "admin")
    # The address is not verified yet.
    assert created["email_verified"] is False
    boss = await shared.enter("boss")
    assert shared.app.state.tokens.verify(boss.token).role is Role.ADMIN
    assert (await shared.events(created["id"]))[0] == "user.created"
    origin = await shared.scalar("SELECT user_agent FROM audit_events WHERE subject_id = :id LIMIT 1", id=created["id"])
    assert origin == "kpi"
    refusal = console.refusal("create-user", username="BOSS", password=PASSWORD)
    assert refusal == "kpi-auth: This username is taken"
    assert console.result("create-user", username="plain", password=PASSWORD)["role"] == "user"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"password": "short"}, "password: Value should have at least 8 characters, not 5"),
        ({"password": "iloveyou"}, "the password is one of the most common passwords"),
        ({"password": "operator_x", "username": "operator_x"}, "the password must not be the username"),
        ({"username": "a b"}, "username: "),
        ({"email": "nobody"}, "email: "),
        ({"role": "root"}, "role: "),
        ({"shell": "sh"}, "shell: "),
    ],
)
def test_what_registration_refuses_is_refused_here_too(
    fields: dict[str, str], sentence: str, settings: AuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"username": "operator", "password": PASSWORD, **fields}
    _set_input(monkeypatch, json.dumps(given))
    with pytest.raises(RefusedError) as refused:
        asyncio.run(_create(settings))
    assert str(refused.value).startswith(sentence)
    assert given["password"] not in str(refused.value)


async def _create(settings: AuthSettings) -> None:
    await console_commands._create(settings, Database(settings), read(CreateUser))


def _set_input(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@pytest.mark.parametrize("given", ["", "{", "[]", '"x"', "\0"])
def test_input_that_is_not_an_object_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for schema in (CreateUser, ResetPassword, ListUsers):
        _set_input(monkeypatch, given)
        with pytest.raises(RefusedError, match="input: "):
            read(schema)


def test_a_refusal_is_one_sentence(console: Console) -> None:
    for command in ("create-user", "reset-password", "list-users"):
        assert console.refusal(command, colour="red").startswith("kpi-auth: ")


async def test_a_name_is_judged_without_a_password(shared: Accounts, console: Console) -> None:
    await shared.add("judged")
    assert console.result("check-new-user", username="still_free", email=None, role="user") == {
        "username": "still_free"
    }
    assert console.result("check-user", username="JUDGED") == {"username": "judged"}
    assert console.refusal("check-new-user", username="Judged") == "kpi-auth: This username is taken"
    assert console.refusal("check-new-user", username="a b").startswith("kpi-auth: username: ")
    assert console.refusal("check-new-user", username="fine", email="nobody").startswith("kpi-auth: email: ")
    assert console.refusal("check-user", username="still_free") == "kpi-auth: There is no user 'still_free'"


async def test_a_taken_address_is_refused_without_a_password(shared: Accounts, settings: AuthSettings) -> None:
    console = Console(settings, REGISTRATION_TELLS_EMAIL="true")
    console.result("create-user", username="first", email="first@example.com", password=PASSWORD)
    again = {"username": "second", "email": "First@Example.com"}
    refusal = console.refusal("check-new-user", **again)
    assert refusal == console.refusal("create-user", **again, password=PASSWORD)
    assert "address" in refusal
    silent = Console(settings, REGISTRATION_TELLS_EMAIL="false")
    assert silent.result("check-new-user", **again) == {"username": "second"}
    assert silent.result("create-user", **again, password=PASSWORD)["username"] == "second"


async def test_a_new_password_ends_sessions_and_codes_and_notifies_the_owner(
    shared: Accounts, console: Console
) -> None:
    anna = await shared.add("anna")
    await shared.enter("anna")
    await shared.execute(
        "INSERT INTO one_time_codes (user_id, purpose, code_hash, email, expires_at)"
        " VALUES (:id, 'reset_password', decode(repeat('00', 32), 'hex'), 'anna@example.com', now() + interval '1 h')",
        id=anna.id,
    )
    done = console.result("reset-password", username="ANNA", password="quite another password")
    assert done == {"id": anna.id, "username": "anna", "sessions_ended": 2}
    assert not await shared.sign_in("anna", PASSWORD)
    assert await shared.sign_in("anna", "quite another password")
    assert await shared.scalar("SELECT count(*) FROM one_time_codes") == 0
    assert "password.reset" in await shared.events(anna.id)
    assert [mail.template for mail in await shared.mails("anna@example.com")][-1] == "password_changed"


async def test_a_new_password_follows_the_policy_and_needs_an_existing_user(shared: Accounts, console: Console) -> None:
    anna = await shared.add("anna_the_first")
    message = console.refusal("reset-password", username="anna_the_first", password="ANNA_the_first@example.com")
    assert message == "kpi-auth: the password must not be the username or the e-mail address"
    await shared.execute("UPDATE users SET is_active = false, deleted_at = now() WHERE id = :id", id=anna.id)
    for name in ("anna_the_first", "nobody"):
        message = console.refusal("reset-password", username=name, password=PASSWORD)
        assert message == f"kpi-auth: There is no user {name!r}"


async def test_a_list_is_sorted_by_name_and_states_whether_there_are_more(shared: Accounts, console: Console) -> None:
    for name in ("carl", "Anna", "ben"):
        await shared.add(name)
    listed = console.result("list-users")
    assert [item["username"] for item in listed["items"]] == ["Anna", "ben", "carl"]
    assert listed["more"] is False
    assert set(listed["items"][0]) == ALL_FIELDS
    listed = console.result("list-users", limit=2)
    assert ([item["username"] for item in listed["items"]], listed["more"]) == (["Anna", "ben"], True)
    assert [item["username"] for item in console.result("list-users", search="BEN@")["items"]] == ["ben"]
    assert console.result("list-users", role="admin")["items"] == []


def test_an_unreachable_database_is_reported_in_one_sentence(settings: AuthSettings) -> None:
    unreachable = Console(settings)
    unreachable._environment["DATABASE_URL"] = "postgresql://kpi:secret-word@127.0.0.1:1/none"
    message = unreachable.refusal("list-users")
    assert message.startswith("kpi-auth: ")
    assert "secret-word" not in message
